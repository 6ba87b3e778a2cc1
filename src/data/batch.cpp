#include "maskedkd/data/batch.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/tensor.h>

#include <algorithm>

namespace maskedkd {

at::Tensor normalised_images(const MicroBatch& batch, at::Device device) {
  const auto per_channel = [&](std::initializer_list<float> values) {
    return at::tensor(at::ArrayRef<float>(values)).view({1, 3, 1, 1}).to(device);
  };
  at::Tensor images =
      batch.images.to(device, /*non_blocking=*/true).permute({0, 3, 1, 2}).to(at::kFloat).contiguous();  // [B, 3, S, S]
  images.div_(255.0).sub_(per_channel({0.485f, 0.456f, 0.406f})).div_(per_channel({0.229f, 0.224f, 0.225f}));
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
