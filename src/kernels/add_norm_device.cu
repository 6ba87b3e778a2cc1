// A warp for each row, or each chunk of rows: its lanes exchange sums in registers, and no thread waits for another
// warp.
#include "add_norm_device.hpp"

#include <cuda_runtime.h>

namespace maskedkd::kernel {
namespace {

constexpr int kWarp = 32, kWarpsOfBlock = 4;
constexpr unsigned kAll = 0xFFFFFFFFu;

struct WarpLanes {
  int index;

  template <typename Work>
  __device__ void for_each(int width, const Work& work) const {
    for (int i = index; i < width; i += kWarp) {
      work(i);
    }
  }
  template <typename Term>
  __device__ Sums sums(int width, const Term& term) const {
    Sums own = {0, 0};
    for (int i = index; i < width; i += kWarp) {
      const Sums value = term(i);
      own.first += value.first;
      own.second += value.second;
    }
    for (int distance = kWarp / 2; distance > 0; distance /= 2) {
      own.first += __shfl_xor_sync(kAll, own.first, distance);
      own.second += __shfl_xor_sync(kAll, own.second, distance);
    }
    return own;
  }
  __device__ bool is_first() const { return index == 0; }
};

__device__ std::int64_t own_warp() {
  return std::int64_t{blockIdx.x} * kWarpsOfBlock + static_cast<int>(threadIdx.x) / kWarp;
}

template <typename T>
__global__ void __launch_bounds__(kWarp* kWarpsOfBlock) forward(const __grid_constant__ AddNorm<T> work) {
  const std::int64_t row = own_warp();
  if (row < work.rows) {
    add_norm_row(work, row, WarpLanes{static_cast<int>(threadIdx.x) % kWarp});
  }
}

template <typename T>
__global__ void __launch_bounds__(kWarp* kWarpsOfBlock) backward(const __grid_constant__ AddNormBackward<T> work) {
  const std::int64_t chunk = own_warp();
  if (chunk * kRowsOfChunk < work.rows) {
    add_norm_backward_chunk(work, chunk, WarpLanes{static_cast<int>(threadIdx.x) % kWarp});
  }
}

// A block adds kWarp columns of one group: its y-th row of threads every kPartsOfColumn-th chunk, then the first row
// the results of the others, in their order.
constexpr int kPartsOfColumn = 16;

__global__ void __launch_bounds__(kWarp* kPartsOfColumn)
    add_chunks(const float* parts, std::int64_t chunks, int width, float* to) {
  __shared__ float sums[kPartsOfColumn][kWarp];
  const int column = static_cast<int>(blockIdx.x) * kWarp + static_cast<int>(threadIdx.x);
  const float* const group = parts + blockIdx.y * chunks * width;
  float sum = 0;
  if (column < width) {
    for (std::int64_t chunk = threadIdx.y; chunk < chunks; chunk += kPartsOfColumn) {
      sum += group[chunk * width + column];
    }
  }
  sums[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y == 0 && column < width) {
    for (int part = 1; part < kPartsOfColumn; ++part) {
      sum += sums[part][threadIdx.x];
    }
    to[std::int64_t{blockIdx.y} * width + column] = sum;
  }
}

unsigned blocks_of(std::int64_t warps) { return static_cast<unsigned>((warps + kWarpsOfBlock - 1) / kWarpsOfBlock); }

template <typename T>
int launch(const AddNorm<T>& work, CUstream_st* stream) {
  forward<T><<<blocks_of(work.rows), kWarp * kWarpsOfBlock, 0, stream>>>(work);
  return cudaGetLastError();
}

template <typename T>
int launch(const AddNormBackward<T>& work, CUstream_st* stream) {
  const std::int64_t chunks = (work.rows + kRowsOfChunk - 1) / kRowsOfChunk;
  backward<T><<<blocks_of(chunks), kWarp * kWarpsOfBlock, 0, stream>>>(work);
  return cudaGetLastError();
}

}  // namespace

int add_norm_on_device(const AddNorm<float>& work, CUstream_st* stream) { return launch(work, stream); }
int add_norm_on_device(const AddNorm<Bfloat16>& work, CUstream_st* stream) { return launch(work, stream); }
int add_norm_backward_on_device(const AddNormBackward<float>& work, CUstream_st* stream) {
  return launch(work, stream);
}
int add_norm_backward_on_device(const AddNormBackward<Bfloat16>& work, CUstream_st* stream) {
  return launch(work, stream);
}

int add_chunks_on_device(const float* parts, int groups, std::int64_t chunks, int width, float* to,
                         CUstream_st* stream) {
  const dim3 blocks(static_cast<unsigned>((width + kWarp - 1) / kWarp), static_cast<unsigned>(groups));
  add_chunks<<<blocks, dim3(kWarp, kPartsOfColumn), 0, stream>>>(parts, chunks, width, to);
  return cudaGetLastError();
}

}  // namespace maskedkd::kernel
