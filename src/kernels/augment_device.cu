// One block for each image: the images of a batch are enough to fill a GPU, and the threads of a block can synchronise.
#include "augment_device.hpp"
#include "augment_kernel.hpp"

#include <cuda_runtime.h>

namespace maskedkd::kernel {
namespace {

constexpr int kLanes = 512;

struct BlockLanes {
  int index, count;

  __device__ void wait() const { __syncthreads(); }
  template <typename T>
  __device__ void add(T* counter, T amount) const {
    atomicAdd(counter, amount);
  }
};

__global__ void __launch_bounds__(kLanes, 1) augment_images(const AugmentBatch batch) {
  __shared__ Shared shared;
  augment(BlockLanes{static_cast<int>(threadIdx.x), static_cast<int>(blockDim.x)}, batch, static_cast<int>(blockIdx.x),
          shared);
}

}  // namespace

int augment_on_device(const AugmentBatch& batch, CUstream_st* stream) {
  augment_images<<<static_cast<unsigned>(batch.num_images), kLanes, 0, stream>>>(batch);
  return cudaGetLastError();
}

}  // namespace maskedkd::kernel
