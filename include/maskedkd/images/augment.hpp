// Augmentation of one image: a plan is drawn (all randomness), then applied (pure). Formulas: torchvision's
// RandomResizedCrop and timm's RandomErasing with DeiT's settings; evaluation as DeiT's Resize and CenterCrop.
#pragma once

#include "maskedkd/base/philox.hpp"
#include "maskedkd/images/image.hpp"

#include <cstdint>
#include <optional>
#include <span>

namespace maskedkd {

struct AugmentOptions {
  int input_size = 224;         // pixels, square
  double crop_min_area = 0.08;  // share of the image's area
  double crop_max_area = 1.0;
  double flip_probability = 0.5;
  double erasing_probability = 0.25;
  double evaluation_crop = 0.875;  // shorter edge is resized to int(input_size / this), then cropped centrally

  void validate() const;  // throws Error (usage) naming the flag
};

// What happens to one training image.
struct TrainingPlan {
  PixelBox crop;  // of the source
  bool flip = false;
  std::optional<PixelBox> erase;  // of the result, strictly smaller than it; filled with N(0, 1) after normalisation
};

// Area U(min, max), aspect log-uniform (3/4, 4/3), rounded, 10 tries, then the central fallback; erasing area
// U(0.02, 1/3), log-aspect (0.3, 1/0.3), 10 tries.
TrainingPlan draw_training_plan(PhiloxStream& random, int height, int width, const AugmentOptions& options);

// out: [input_size, input_size, 3]. Crop, resize, flip. Erasing comes after normalisation (data/batch.hpp). The region
// holds plan.crop.
void apply_training_plan(const TrainingPlan& plan, const ImageRegion& image, int input_size,
                         std::span<std::uint8_t> out);

// Evaluation: resize of the shorter edge (the longer one truncated as torchvision does), centre crop with offset
// round-half-even(delta / 2).
struct EvaluationPlan {
  PixelBox whole;  // the image
  int full_height = 0, full_width = 0;
  PixelBox window;  // of the resized image, [input_size, input_size]
  PixelBox needed;  // of the image
};
// Throws Error where the image is so long that its resized edge is no number any more.
EvaluationPlan plan_evaluation(int height, int width, const AugmentOptions& options);
// out: [input_size, input_size, 3]. The region holds plan.needed.
void apply_evaluation_plan(const EvaluationPlan& plan, const ImageRegion& image, std::span<std::uint8_t> out);

}  // namespace maskedkd
