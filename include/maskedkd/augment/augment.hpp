// Augmentation of one image. A plan is drawn, which contains everything random; applying it is pure. The steps: random
// resized crop, flip, then RandAugment, or colour jitter with or without 3-Augment; erasing after normalisation.
// Formulas: torchvision's RandomResizedCrop and ColorJitter, timm's RandAugment and RandomErasing, DeiT3's 3-Augment,
// DeiT's evaluation.
#pragma once

#include "maskedkd/augment/erasing.hpp"
#include "maskedkd/augment/operations.hpp"
#include "maskedkd/augment/rand_augment.hpp"
#include "maskedkd/base/philox.hpp"
#include "maskedkd/codecs/image.hpp"

#include <cstdint>
#include <span>
#include <vector>

namespace maskedkd {

struct AugmentOptions {
  int input_size = 224;         // pixels, square
  double crop_min_area = 0.08;  // share of the image's area
  double crop_max_area = 1.0;
  InterpolationChoice interpolation = InterpolationChoice::bicubic;  // of crop, rotate, shear and translate
  double flip_probability = 0.5;
  RandAugmentPolicy policy;    // DeiT's rand-m9-mstd0.5-inc1
  bool three_augment = false;  // DeiT3's, instead of RandAugment: one of grayscale, solarize and Gaussian blur
  double color_jitter = 0.3;   // brightness, contrast, saturation by 1 +- this; see allows_color_jitter()
  double erasing_probability = 0.25;
  ErasingMode erasing_mode = ErasingMode::pixel;
  int erasing_count = 1;           // largest number of boxes in an image, which share the area
  double evaluation_crop = 0.875;  // the shorter edge is resized to int(input_size / this), then the centre is cropped

  void validate() const;  // throws Error (usage) naming the flag
};

struct TrainingPlan {
  PixelBox crop;  // of the source
  bool flip = false;
  std::vector<PixelBox> erase = {};  // of the result, each strictly smaller than it; filled after normalisation
  Interpolation interpolation = Interpolation::bicubic;  // of the crop
  std::vector<ImageOperation> operations = {};           // on the result, in this order
};

// Crop: area U(min, max), aspect log-uniform (3/4, 4/3), rounded, 10 tries, then the central fallback. Erasing: area
// U(0.02, 1/3) / number of boxes, log-aspect (0.3, 1/0.3), 10 tries. Other options don't change crop, flip and erasing.
TrainingPlan draw_training_plan(PhiloxStream& random, int height, int width, const AugmentOptions& options);

// Crop, resize, flip, operations, without erasing. image: contains plan.crop. out: [input_size, input_size, 3].
void apply_training_plan(const TrainingPlan& plan, const ImageRegion& image, int input_size,
                         std::span<std::uint8_t> out);

// DeiT's resize of the shorter edge (the longer one truncated), centre crop at offset round-half-even(delta / 2).
struct EvaluationPlan {
  PixelBox whole;  // the image
  int full_height = 0, full_width = 0;
  PixelBox window;  // of the resized image, [input_size, input_size]
  PixelBox needed;  // pixels of the image that the window depends on
};
// Throws Error where the resized longer edge exceeds an int.
EvaluationPlan plan_evaluation(int height, int width, const AugmentOptions& options);
// image: contains plan.needed. out: [input_size, input_size, 3].
void apply_evaluation_plan(const EvaluationPlan& plan, const ImageRegion& image, std::span<std::uint8_t> out);

}  // namespace maskedkd
