// One thread for each pixel, then one for each target: neighbours read and write neighbouring memory.
#include "prepare_device.hpp"

#include <cuda_runtime.h>

namespace maskedkd::kernel {
namespace {

constexpr int kThreads = 256;

std::int64_t num_blocks(std::int64_t count) { return (count + kThreads - 1) / kThreads; }

// The first blocks_per_image * num_images blocks make pixels.
__global__ void __launch_bounds__(kThreads)
    prepare(const __grid_constant__ Preparation batch, const int blocks_per_image) {
  const int image = static_cast<int>(blockIdx.x) / blocks_per_image;
  if (image < batch.num_images) {
    const int first = (static_cast<int>(blockIdx.x) - image * blocks_per_image) * kThreads;
    const int pixel = first + static_cast<int>(threadIdx.x);
    if (pixel < batch.size * batch.size) {
      PixelMaker<NewBlock> maker(batch);
      if (batch.image_shares == nullptr) {
        maker.prepare<true, false>(image, pixel / batch.size, pixel % batch.size);
      } else {
        maker.prepare<true, true>(image, pixel / batch.size, pixel % batch.size);
      }
    }
    return;
  }
  const std::int64_t block =
      static_cast<std::int64_t>(blockIdx.x) - static_cast<std::int64_t>(blocks_per_image) * batch.num_images;
  const std::int64_t target = block * kThreads + threadIdx.x;
  if (target < static_cast<std::int64_t>(batch.num_images) * batch.num_classes) {
    prepare_target(batch, static_cast<int>(target / batch.num_classes), static_cast<int>(target % batch.num_classes));
  }
}

}  // namespace

int prepare_on_device(const Preparation& batch, CUstream_st* stream) {
  const std::int64_t per_image = num_blocks(static_cast<std::int64_t>(batch.size) * batch.size);
  const std::int64_t blocks =
      per_image * batch.num_images + num_blocks(static_cast<std::int64_t>(batch.num_images) * batch.num_classes);
  prepare<<<static_cast<unsigned>(blocks), kThreads, 0, stream>>>(batch, static_cast<int>(per_image));
  return cudaGetLastError();
}

}  // namespace maskedkd::kernel
