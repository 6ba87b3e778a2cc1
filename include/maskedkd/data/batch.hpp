// Converts the loader's bytes to what a model takes, on the model's device.
#pragma once

#include "maskedkd/data/loader.hpp"

#include <ATen/core/Tensor.h>

namespace maskedkd {

// The images, or augmented_images() of the crops, [B, S, S, 3] uint8 -> [B, 3, S, S] float32 on `device`: (x / 255 -
// mean) / std with ImageNet's mean (0.485, 0.456, 0.406) and std (0.229, 0.224, 0.225); then each erasure's noise.
at::Tensor normalised_images(const MicroBatch& batch, at::Device device);

// The level, 0 to 255 and not rounded, of a normalised value. channel: 0 red, 1 green, 2 blue.
float denormalised(float value, std::size_t channel);

}  // namespace maskedkd
