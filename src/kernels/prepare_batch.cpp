#include "maskedkd/kernels/prepare_batch.hpp"

#include "maskedkd/augment/erasing.hpp"
#include "maskedkd/base/error.hpp"
#include "maskedkd/kernels/augment_images.hpp"
#include "prepare_host.hpp"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <c10/core/DeviceGuard.h>
#include <fmt/ranges.h>

#include <algorithm>

#ifdef MASKEDKD_WITH_NVCC
#include "prepare_device.hpp"

#include <c10/cuda/CUDAStream.h>
#endif

namespace maskedkd {
namespace {

using kernel::Preparation;

constexpr std::int64_t kRowsOfTask = 512;  // on a CPU

at::Tensor normalised_levels() {
  const at::Tensor levels = at::empty({3, 256}, at::kFloat);
  float* value = levels.mutable_data_ptr<float>();
  for (std::size_t channel = 0; channel < 3; ++channel) {
    for (int level = 0; level < 256; ++level) {
      *value++ = (static_cast<float>(level) / 255.0F - kImageMean[channel]) / kImageDeviation[channel];
    }
  }
  return levels;
}

at::Tensor erasing_values() {
  const std::vector<std::uint32_t>& quantiles = erasing_quantiles();
  const at::Tensor values = at::empty({static_cast<std::int64_t>(quantiles.size())}, at::kInt);
  std::transform(quantiles.begin(), quantiles.end(), values.mutable_data_ptr<std::int32_t>(),
                 [](std::uint32_t bits) { return static_cast<std::int32_t>(bits); });
  return values;
}

void check(const at::Tensor& tensor, const char* name, at::ScalarType dtype, at::IntArrayRef shape, at::Device device) {
  if (tensor.scalar_type() != dtype || tensor.sizes() != shape || tensor.device() != device ||
      !tensor.is_contiguous()) {
    throw Error(fmt::format("{} of a batch to prepare: {} of shape [{}] on {}, expected {} of shape [{}] on {}", name,
                            c10::toString(tensor.scalar_type()), fmt::join(tensor.sizes(), ", "), tensor.device().str(),
                            c10::toString(dtype), fmt::join(shape, ", "), device.str()));
  }
}

// All but the tables.
Preparation checked(const BatchInputs& inputs, double smoothing, const at::Tensor& images, const at::Tensor& targets,
                    at::Device device) {
  Preparation batch{};
  const std::int64_t count = images.size(0), size = images.size(2);
  batch.num_images = static_cast<int>(count);
  batch.size = static_cast<int>(size);
  check(images, "images", at::kFloat, {count, 3, size, size}, device);
  batch.images = images.mutable_data_ptr<float>();
  check(inputs.pixels, "pixels", at::kByte, {count, size, size, 3}, device);
  batch.pixels = inputs.pixels.const_data_ptr<std::uint8_t>();
  if (inputs.erasures.defined()) {
    const std::int64_t boxes = inputs.erasures.size(1);
    check(inputs.erasures, "erasures", at::kInt, {count, boxes, kPlannedErasureWords}, device);
    batch.num_erasures = static_cast<int>(boxes);
    batch.erasures = reinterpret_cast<const PlannedErasure*>(inputs.erasures.const_data_ptr<std::int32_t>());
  }
  if (inputs.image_shares.defined()) {
    check(inputs.image_shares, "image_shares", at::kFloat, {count}, device);
    check(inputs.cut_boxes, "cut_boxes", at::kInt, {count, 4}, device);
    batch.image_shares = inputs.image_shares.const_data_ptr<float>();
    batch.cut_boxes = inputs.cut_boxes.const_data_ptr<std::int32_t>();
  }
  if (targets.defined()) {
    const std::int64_t classes = targets.size(1);
    check(targets, "targets", at::kFloat, {count, classes}, device);
    check(inputs.labels, "labels", at::kLong, {count}, device);
    check(inputs.target_shares, "target_shares", at::kFloat, {count}, device);
    batch.targets = targets.mutable_data_ptr<float>();
    batch.labels = inputs.labels.const_data_ptr<std::int64_t>();
    batch.target_shares = inputs.target_shares.const_data_ptr<float>();
    batch.num_classes = static_cast<int>(classes);
    const double off = smoothing / static_cast<double>(classes);
    batch.off = static_cast<float>(off);
    batch.on = static_cast<float>(1.0 - smoothing + off);
  }
  return batch;
}

void prepare_on_host(const Preparation& batch) {
  at::parallel_for(0, std::int64_t{batch.num_images} * batch.size, kRowsOfTask,
                   [&](std::int64_t begin, std::int64_t end) { kernel::prepare_rows_on_host(batch, begin, end); });
  kernel::prepare_targets_on_host(batch);
}

at::Tensor pinned_like(const at::Tensor& tensor) {
  return tensor.defined() ? at::empty(tensor.sizes(), tensor.options().device(at::kCPU).pinned_memory(true)) : tensor;
}

}  // namespace

BatchPreparer::BatchPreparer(at::Device device)
    : device_(device),
      levels_(normalised_levels().to(can_augment_on_gpu() ? device : at::Device(at::kCPU))),
      erasing_values_(erasing_values().to(levels_.device())) {}

void BatchPreparer::prepare(const BatchInputs& inputs, double smoothing, const at::Tensor& images,
                            const at::Tensor& targets) const {
  if (images.device() != input_device()) {  // a GPU without kernels: its copies of the results are queued
    const at::Tensor host_images = pinned_like(images), host_targets = pinned_like(targets);
    prepare(inputs, smoothing, host_images, host_targets);
    images.copy_(host_images, /*non_blocking=*/true);
    if (targets.defined()) {
      targets.copy_(host_targets, /*non_blocking=*/true);
    }
    return;
  }
  Preparation batch = checked(inputs, smoothing, images, targets, input_device());
  batch.levels = levels_.const_data_ptr<float>();
  batch.erasing_values = reinterpret_cast<const std::uint32_t*>(erasing_values_.const_data_ptr<std::int32_t>());
  if (batch.num_images == 0) {
    return;
  }
#ifdef MASKEDKD_WITH_NVCC
  if (images.is_cuda()) {
    const c10::DeviceGuard guard(images.device());
    // The error may also be one of earlier work.
    C10_CUDA_CHECK(static_cast<cudaError_t>(
        kernel::prepare_on_device(batch, c10::cuda::getCurrentCUDAStream(images.device().index()).stream())));
    return;
  }
#endif
  prepare_on_host(batch);
}

at::Tensor BatchPreparer::normalised(const at::Tensor& pixels) const {
  const at::Tensor bytes = pixels.to(input_device(), /*non_blocking=*/true).contiguous();
  const at::Tensor images = at::empty({bytes.size(0), 3, bytes.size(1), bytes.size(2)},
                                      at::TensorOptions().dtype(at::kFloat).device(device_));
  prepare({.pixels = bytes}, 0, images, {});
  return images;
}

}  // namespace maskedkd
