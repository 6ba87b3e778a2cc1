// Augmentation of one image: a plan is drawn (all randomness), then applied (pure). Formulas: torchvision's
// RandomResizedCrop and timm's RandomErasing with DeiT's settings; evaluation as DeiT's Resize and CenterCrop.
#pragma once

#include "maskedkd/base/philox.hpp"
#include "maskedkd/data/image.hpp"

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

// out: [input_size, input_size, 3]. Crop, bicubic resize, flip. Erasing comes after normalisation (data/batch.hpp).
void apply_training_plan(const TrainingPlan& plan, const Image& image, int input_size, std::span<std::uint8_t> out);

// out: [input_size, input_size, 3]. Resize of the shorter edge (the longer one truncated as torchvision does), centre
// crop with offset round-half-even(delta / 2); an image that is smaller than the crop is padded with black as
// torchvision does.
void apply_evaluation_transform(const Image& image, const AugmentOptions& options, std::span<std::uint8_t> out);

}  // namespace maskedkd
