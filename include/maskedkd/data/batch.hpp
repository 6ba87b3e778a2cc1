// Pixels as models take them, and back, for what looks at single images.
#pragma once

#include "maskedkd/data/staged_batch.hpp"

#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>

#include <cstddef>

namespace maskedkd {

// [B, S, S, 3] uint8 -> [B, 3, S, S] float32 on `device`: (x / 255 - mean) / std with ImageNet's mean (0.485, 0.456,
// 0.406) and std (0.229, 0.224, 0.225).
at::Tensor normalised_images(const at::Tensor& pixels, at::Device device);

// The images of a training micro-batch on the CPU, [B, 3, S, S] float32: normalised and erased, and mixed or not.
at::Tensor prepared_images(const StagedViews& views, bool mixed);

// The level, 0 to 255 and not rounded, of a normalised value. channel: 0 red, 1 green, 2 blue.
float denormalised(float value, std::size_t channel);

}  // namespace maskedkd
