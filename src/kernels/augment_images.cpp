#include "maskedkd/kernels/augment_images.hpp"

#include "augment_host.hpp"
#include "maskedkd/base/error.hpp"
#include "resize_kernel.hpp"

#include <ATen/ops/empty.h>
#include <c10/core/DeviceGuard.h>

#include <algorithm>
#include <cstring>
#include <limits>

#ifdef MASKEDKD_WITH_NVCC
#include "augment_device.hpp"

#include <c10/cuda/CUDAStream.h>
#endif

namespace maskedkd {
namespace {

using kernel::AugmentBatch;
using kernel::PlannedImage;
using kernel::PlannedOperation;

PlannedOperation planned(const ImageOperation& operation, int size) {
  PlannedOperation result{};
  result.kind = operation.kind;
  result.interpolation = operation.interpolation;
  result.whole = static_cast<int>(operation.argument);
  result.factor = static_cast<float>(operation.argument);
  if (is_geometric(operation.kind)) {
    result.map = affine_map(operation, size, size);
  } else if (operation.kind == OperationKind::gaussian_blur) {
    result.box = box_weights(operation.argument);
  }
  return result;
}

struct PlannedBatch {
  std::vector<PlannedImage> images;
  std::vector<PlannedOperation> operations;
  std::vector<std::int64_t> piece_bytes;  // of each piece, up to the end of its last crop
  std::int64_t crop_bytes = 0;
  std::int64_t scratch_bytes = 0;
};

// Finds the last used byte of each piece, and where each crop lies on the device, where all pieces are joined.
void place_crops(const RawCrops& crops, PlannedBatch& batch) {
  batch.piece_bytes.assign(crops.pieces.size(), 0);
  for (std::size_t i = 0; i < crops.plans.size(); ++i) {
    const auto& [piece, offset] = crops.places.at(i);
    const PixelBox& box = crops.plans[i].crop;
    const std::int64_t end = offset + std::int64_t{3} * box.height * box.width;
    if (piece >= crops.pieces.size() || offset < 0 || end > crops.pieces[piece].numel()) {
      throw Error(fmt::format("a crop of {} x {} pixels does not lie in its piece of memory", box.width, box.height));
    }
    batch.piece_bytes[piece] = std::max(batch.piece_bytes[piece], end);
  }
  std::vector<std::int64_t> begin;
  for (const std::int64_t num_bytes : batch.piece_bytes) {
    begin.push_back(batch.crop_bytes);
    batch.crop_bytes += num_bytes;
  }
  for (std::size_t i = 0; i < crops.plans.size(); ++i) {
    batch.images[i].crop = begin[crops.places[i].piece] + crops.places[i].offset;
  }
}

PlannedBatch planned(const RawCrops& crops) {
  PlannedBatch batch;
  for (const TrainingPlan& plan : crops.plans) {
    const int height = plan.crop.height, width = plan.crop.width;
    if (height < 1 || width < 1 || std::int64_t{height} * crops.input_size > std::numeric_limits<int>::max()) {
      throw Error(fmt::format("a crop of {} x {} pixels can't be resized to {}", width, height, crops.input_size));
    }
    PlannedImage& image = batch.images.emplace_back();
    image.scratch = batch.scratch_bytes;
    image.height = height;
    image.width = width;
    image.interpolation = plan.interpolation;
    image.flip = plan.flip;
    image.first_operation = static_cast<int>(batch.operations.size());
    image.num_operations = static_cast<int>(plan.operations.size());
    for (const ImageOperation& operation : plan.operations) {
      batch.operations.push_back(planned(operation, crops.input_size));
    }
    batch.scratch_bytes += kernel::scratch_bytes(plan.interpolation, height, width, crops.input_size);
  }
  place_crops(crops, batch);
  return batch;
}

at::Tensor bytes_on(at::Device device, std::int64_t count, bool pinned = false) {
  return at::empty({count}, at::TensorOptions().dtype(at::kByte).device(device).pinned_memory(pinned));
}

// num_lanes: for a CPU.
void augment(const AugmentBatch& batch, [[maybe_unused]] at::Device device, int num_lanes) {
#ifdef MASKEDKD_WITH_NVCC
  if (device.is_cuda()) {
    // The error may also be one of earlier work.
    C10_CUDA_CHECK(static_cast<cudaError_t>(
        kernel::augment_on_device(batch, c10::cuda::getCurrentCUDAStream(device.index()).stream())));
    return;
  }
#endif
  kernel::augment_on_host(batch, num_lanes);
}

at::Tensor augmented(const RawCrops& crops, at::Device device, at::Tensor images, int num_lanes) {
  const c10::DeviceGuard guard(device);
  const PlannedBatch plans = planned(crops);
  const auto num_images = static_cast<std::int64_t>(plans.images.size());
  const std::vector<std::int64_t> shape = {num_images, crops.input_size, crops.input_size, 3};
  if (!images.defined()) {
    images = at::empty(shape, at::TensorOptions().dtype(at::kByte).device(device));
  } else if (images.sizes() != shape || images.scalar_type() != at::kByte || images.device() != device ||
             !images.is_contiguous()) {
    throw Error(fmt::format("{} crops are to become images in memory of another shape", num_images));
  }
  if (num_images == 0) {
    return images;
  }
  // Both tables in one buffer, images first; the assertion keeps the operations aligned.
  static_assert(sizeof(PlannedImage) % alignof(PlannedOperation) == 0);
  const std::size_t image_bytes = plans.images.size() * sizeof(PlannedImage);
  const std::size_t operation_bytes = plans.operations.size() * sizeof(PlannedOperation);
  const at::Tensor tables =
      bytes_on(at::kCPU, static_cast<std::int64_t>(image_bytes + operation_bytes), device.is_cuda());
  auto* table = tables.mutable_data_ptr<std::uint8_t>();
  std::memcpy(table, plans.images.data(), image_bytes);
  if (operation_bytes != 0) {
    std::memcpy(table + image_bytes, plans.operations.data(), operation_bytes);
  }
  const at::Tensor device_pixels = bytes_on(device, plans.crop_bytes);
  std::int64_t begin = 0;
  for (std::size_t piece = 0; piece < crops.pieces.size(); ++piece) {
    const std::int64_t num_bytes = plans.piece_bytes[piece];
    device_pixels.narrow(0, begin, num_bytes).copy_(crops.pieces[piece].narrow(0, 0, num_bytes), /*non_blocking=*/true);
    begin += num_bytes;
  }
  const at::Tensor device_tables = tables.to(device, /*non_blocking=*/true);
  const at::Tensor scratch = bytes_on(device, plans.scratch_bytes);
  AugmentBatch batch{};
  batch.crops = device_pixels.const_data_ptr<std::uint8_t>();
  batch.planned = reinterpret_cast<const PlannedImage*>(device_tables.const_data_ptr<std::uint8_t>());
  batch.operations =
      reinterpret_cast<const PlannedOperation*>(device_tables.const_data_ptr<std::uint8_t>() + image_bytes);
  batch.scratch = scratch.mutable_data_ptr<std::uint8_t>();
  batch.images = images.mutable_data_ptr<std::uint8_t>();
  batch.num_images = static_cast<int>(num_images);
  batch.size = crops.input_size;
  augment(batch, device, num_lanes);
  return images;  // the allocator reuses the temporary memory only after the stream has passed this point
}

}  // namespace

bool can_augment_on_gpu() {
#ifdef MASKEDKD_WITH_NVCC
  return true;
#else
  return false;
#endif
}

at::Tensor augmented_images(const RawCrops& crops, at::Device device, const at::Tensor& images) {
  if (!device.is_cpu() && !can_augment_on_gpu()) {
    throw Error("this program was built without kernels for GPUs");
  }
  return augmented(crops, device, images, /*num_lanes=*/1);
}

at::Tensor kernel::augmented_by_lanes(const RawCrops& crops, int num_lanes) {
  return augmented(crops, at::kCPU, {}, num_lanes);
}

}  // namespace maskedkd
