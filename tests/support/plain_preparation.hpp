// What BatchPreparer computes, composed of ATen's operators, and with the noise of erasing value by value.
#pragma once

#include "maskedkd/augment/erasing.hpp"
#include "maskedkd/base/philox.hpp"
#include "maskedkd/data/mixing.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>

#include <bit>
#include <cstdint>
#include <vector>

namespace maskedkd::testing {

// [B, S, S, 3] uint8 -> [B, 3, S, S] float32
inline at::Tensor plain_normalised(const at::Tensor& pixels) {
  const at::Tensor mean = at::tensor({0.485F, 0.456F, 0.406F}).view({1, 3, 1, 1});
  const at::Tensor deviation = at::tensor({0.229F, 0.224F, 0.225F}).view({1, 3, 1, 1});
  return pixels.permute({0, 3, 1, 2}).to(at::kFloat).contiguous().div(255.0).sub(mean).div(deviation);
}

// `count` standard normals of box `number` of the image at the address: one for every 16 bits of the stream.
inline std::vector<float> plain_noise(const RandomAddress& address, std::uint32_t number, std::size_t count) {
  PhiloxCounter counter = philox_counter(address);
  counter[0] = number << 20;
  std::vector<float> values;
  for (; values.size() < count; ++counter[0]) {
    for (const std::uint32_t word : philox4x32(counter, philox_key(address))) {
      for (const std::uint32_t bits : {word & 0xFFFF, word >> 16}) {
        const float positive = std::bit_cast<float>(erasing_quantiles()[bits >= 32768 ? bits - 32768 : 32767 - bits]);
        values.push_back(bits >= 32768 ? positive : -positive);
      }
    }
  }
  values.resize(count);
  return values;
}

// [3, height, width]
inline at::Tensor plain_erasure(const PixelBox& box, ErasingMode mode, const RandomAddress& address,
                                std::uint32_t number) {
  switch (mode) {
    case ErasingMode::pixel:
      return at::tensor(plain_noise(address, number, 3UL * static_cast<std::size_t>(box.height * box.width)))
          .view({3, box.height, box.width});
    case ErasingMode::rand:
      return at::tensor(plain_noise(address, number, 3)).view({3, 1, 1}).expand({3, box.height, box.width});
    case ErasingMode::constant:
      break;
  }
  return at::full({3, box.height, box.width}, 0.0F, at::kFloat);
}

// image: [3, S, S] float32, whose box is overwritten.
inline void plainly_erase(const at::Tensor& image, const PixelBox& box, const at::Tensor& values) {
  image.narrow(1, box.top, box.height).narrow(2, box.left, box.width).copy_(values);
}

// [B, 1, ...]: the weight of an image itself, or of its label.
inline at::Tensor plain_shares(const MixPlan& plan, bool of_labels, const at::Tensor& like) {
  std::vector<float> values;
  for (const MixPlan::Sample& sample : plan.samples) {
    values.push_back(sample.cut && !of_labels ? 1.0F : static_cast<float>(sample.lambda));
  }
  std::vector<std::int64_t> shape(static_cast<std::size_t>(like.dim()), 1);
  shape[0] = -1;
  return at::tensor(values).view(shape);
}

// images [B, 3, S, S] float32 -> the same shape
inline at::Tensor plain_mixed(const at::Tensor& images, const MixPlan& plan) {
  const at::Tensor own = plain_shares(plan, /*of_labels=*/false, images);
  at::Tensor result = images * own + images.flip(0) * (1.0 - own);
  const auto last = static_cast<std::int64_t>(plan.samples.size()) - 1;
  for (std::int64_t i = 0; i <= last; ++i) {
    if (const auto& [lambda, cut, box] = plan.samples[static_cast<std::size_t>(i)]; cut) {
      const auto part = [&](const at::Tensor& image) {
        return image.narrow(1, box.top, box.height).narrow(2, box.left, box.width);
      };
      part(result[i]).copy_(part(images[last - i]));
    }
  }
  return result;
}

// labels [B] int64 -> [B, C] float32
inline at::Tensor plain_targets(const at::Tensor& labels, const MixPlan& plan, std::int64_t num_classes,
                                double smoothing) {
  const double off = smoothing / static_cast<double>(num_classes);
  const at::Tensor one_hot =
      at::full({labels.size(0), num_classes}, off, at::kFloat).scatter_(1, labels.view({-1, 1}), 1.0 - smoothing + off);
  const at::Tensor own = plain_shares(plan, /*of_labels=*/true, one_hot);
  return one_hot * own + one_hot.flip(0) * (1.0 - own);
}

// uniforms [L, 2, B] on [0, 1) -> the factors of drop path with a rate for each of the L blocks
inline at::Tensor plain_drop_path(const at::Tensor& uniforms, const std::vector<double>& rates) {
  at::Tensor factors = uniforms.clone();
  for (std::size_t block = 0; block < rates.size(); ++block) {
    const double keep = 1.0 - rates[block];
    const auto row = static_cast<std::int64_t>(block);
    factors[row].copy_((uniforms[row] + keep).floor() / keep);
  }
  return factors;
}

}  // namespace maskedkd::testing
