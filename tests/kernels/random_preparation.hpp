// Batches with random pixels, erasures and mixtures, and what ATen's operators make of them.
#pragma once

#include "maskedkd/kernels/prepare_batch.hpp"
#include "support/plain_preparation.hpp"

#include <ATen/ops/randint.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <random>
#include <vector>

namespace maskedkd::testing {

struct PreparationShape {
  std::int64_t images = 0;
  int size = 0;
  std::int64_t classes = 0;
  int erasures = 0;  // most in an image
};

struct PreparationCase {
  BatchInputs inputs;
  double smoothing = 0;
  at::Tensor images, targets;  // expected
};

// Boxes within the image; also empty ones, and the whole image.
inline PixelBox random_box(std::mt19937_64& random, int size) {
  const auto below = [&](int end) { return static_cast<int>(random() % static_cast<unsigned>(end)); };
  if (random() % 8 == 0) {
    return {0, 0, size, size};
  }
  const int top = below(size), left = below(size);
  return {top, left, below(size - top + 1), below(size - left + 1)};
}

inline PreparationCase random_preparation(std::mt19937_64& random, const PreparationShape& shape, ErasingMode mode,
                                          const MixOptions& mixing) {
  const auto& [count, size, classes, most] = shape;
  PreparationCase result;
  BatchInputs& inputs = result.inputs;
  inputs.pixels = at::randint(256, {count, size, size, 3}, at::kByte);
  inputs.labels = at::randint(classes, {count}, at::kLong);
  result.images = plain_normalised(inputs.pixels);
  if (most > 0) {
    inputs.erasures = at::zeros({count, most, kPlannedErasureWords}, at::kInt);
  }
  for (std::int64_t image = 0; image < count; ++image) {
    const RandomAddress address{random(),
                                RandomPurpose::erasing_noise,
                                static_cast<std::uint32_t>(random() % 100),
                                static_cast<std::uint32_t>(random()),
                                static_cast<std::uint32_t>(random() % 8),
                                static_cast<std::uint32_t>(image)};
    const auto number = random() % static_cast<unsigned>(most + 1);
    for (std::uint32_t i = 0; i < number; ++i) {
      const PixelBox box = random_box(random, size);
      *(reinterpret_cast<PlannedErasure*>(inputs.erasures.mutable_data_ptr<std::int32_t>()) + image * most + i) =
          plan_erasure(box, mode, address, i);
      plainly_erase(result.images[image], box, plain_erasure(box, mode, address, i));
    }
  }
  PhiloxStream stream({.seed = random()});
  const MixPlan plan = draw_mix_plan(stream, static_cast<int>(count), size, size, mixing);
  inputs.image_shares = plain_shares(plan, /*of_labels=*/false, inputs.labels).contiguous();
  inputs.target_shares = plain_shares(plan, /*of_labels=*/true, inputs.labels).contiguous();
  std::vector<int> boxes;
  for (const MixPlan::Sample& sample : plan.samples) {
    boxes.insert(boxes.end(), {sample.box.top, sample.box.left, sample.box.height, sample.box.width});
  }
  inputs.cut_boxes = at::tensor(boxes, at::kInt).view({count, 4});
  result.images = plain_mixed(result.images, plan);
  result.smoothing = mixing.label_smoothing;
  result.targets = plain_targets(inputs.labels, plan, classes, mixing.label_smoothing);
  return result;
}

// Every mode of mixing, with and without CutMix and Mixup, each with a mode of erasing.
template <typename Body>
void for_each_preparation(std::mt19937_64& random, const std::vector<PreparationShape>& shapes, const Body& body) {
  for (const PreparationShape& shape : shapes) {
    for (const ErasingMode erasing : {ErasingMode::pixel, ErasingMode::rand, ErasingMode::constant}) {
      for (const MixMode mode : {MixMode::batch, MixMode::pair, MixMode::elem}) {
        for (const auto& [mixup, cutmix] : {std::pair(0.8, 1.0), {0.8, 0.0}, {0.0, 1.0}, {0.0, 0.0}}) {
          MixOptions mixing;
          mixing.mode = mode;
          mixing.mixup_alpha = mixup;
          mixing.cutmix_alpha = cutmix;
          mixing.probability = random() % 2 == 0 ? 1 : 0.6;
          mixing.label_smoothing = random() % 2 == 0 ? 0.1 : 0;
          body(random_preparation(random, shape, erasing, mixing));
        }
      }
    }
  }
}

}  // namespace maskedkd::testing
