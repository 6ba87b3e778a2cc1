#include "maskedkd/data/batch.hpp"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <array>

namespace maskedkd {
namespace {

constexpr std::array<float, 3> kMean = {0.485F, 0.456F, 0.406F};
constexpr std::array<float, 3> kDeviation = {0.229F, 0.224F, 0.225F};

// One pass over the bytes, with a table of the 256 values of each channel.
void normalise_on_cpu(const at::Tensor& bytes, const at::Tensor& images) {
  std::array<std::array<float, 256>, 3> values{};
  for (std::size_t channel = 0; channel < 3; ++channel) {
    for (std::size_t level = 0; level < 256; ++level) {
      values[channel][level] = (static_cast<float>(level) / 255.0F - kMean[channel]) / kDeviation[channel];
    }
  }
  const std::int64_t plane = bytes.size(1) * bytes.size(2);
  const std::uint8_t* from = bytes.const_data_ptr<std::uint8_t>();
  float* to = images.mutable_data_ptr<float>();
  at::parallel_for(0, bytes.size(0), /*grain_size=*/4, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t image = begin; image < end; ++image) {
      const std::uint8_t* pixel = from + 3 * plane * image;
      float* red = to + 3 * plane * image;
      float* green = red + plane;
      float* blue = green + plane;
      for (std::int64_t i = 0; i < plane; ++i, pixel += 3) {
        red[i] = values[0][pixel[0]];
        green[i] = values[1][pixel[1]];
        blue[i] = values[2][pixel[2]];
      }
    }
  });
}

}  // namespace

float denormalised(float value, std::size_t channel) {
  return (value * kDeviation.at(channel) + kMean.at(channel)) * 255.0F;
}

at::Tensor normalised_images(const MicroBatch& batch, at::Device device) {
  const at::Tensor bytes = batch.crops ? augmented_images(*batch.crops, device) : batch.images;
  at::Tensor images;  // [B, 3, S, S]
  if (device.is_cpu()) {
    images = at::empty({bytes.size(0), 3, bytes.size(1), bytes.size(2)}, at::kFloat);
    normalise_on_cpu(bytes.contiguous(), images);
  } else {
    const auto per_channel = [&](const std::array<float, 3>& values) {
      return at::tensor(at::ArrayRef<float>(values)).view({1, 3, 1, 1}).to(device);
    };
    images = bytes.to(device, /*non_blocking=*/true).permute({0, 3, 1, 2}).to(at::kFloat).contiguous();
    images.div_(255.0).sub_(per_channel(kMean)).div_(per_channel(kDeviation));
  }
  for (std::size_t i = 0; i < batch.erasures.size(); ++i) {
    for (const auto& [box, noise] : batch.erasures[i]) {
      const at::Tensor values = at::empty({3, box.height, box.width}, at::kFloat);
      std::copy(noise.begin(), noise.end(), values.mutable_data_ptr<float>());
      images.select(0, static_cast<std::int64_t>(i))
          .narrow(1, box.top, box.height)
          .narrow(2, box.left, box.width)
          .copy_(values);
    }
  }
  return images;
}

}  // namespace maskedkd
