// The inputs and outputs of the kernel in augment_kernel.hpp. C++17, like everything that CUDA code includes.
#pragma once

#include "maskedkd/augment/operation_kind.hpp"
#include "maskedkd/codecs/interpolation.hpp"
#include "maskedkd/codecs/pixel_arithmetic.hpp"

#include <cstdint>

#if defined(__CUDACC__)
#define MASKEDKD_KERNEL __device__
#else
#define MASKEDKD_KERNEL
#endif

namespace maskedkd::kernel {

using Counter = unsigned long long;  // CUDA adds to these atomically

// An ImageOperation, with everything that the CPU computes from its argument.
struct PlannedOperation {
  OperationKind kind;
  Interpolation interpolation;
  int whole;     // the argument, truncated
  float factor;  // the argument
  AffineMap map;
  BoxWeights box;
};

struct PlannedImage {
  std::int64_t crop;     // offset in AugmentBatch::crops, bytes
  std::int64_t scratch;  // offset in AugmentBatch::scratch, bytes; a multiple of 4
  int height, width;     // of the crop
  Interpolation interpolation;
  bool flip;
  int first_operation, num_operations;
};

// All pointers are to memory of the device that does the work.
struct AugmentBatch {
  const std::uint8_t* crops;
  const PlannedImage* planned;         // [num_images]
  const PlannedOperation* operations;  // of all images
  std::uint8_t* scratch;
  std::uint8_t* images;  // [num_images, S, S, 3]
  int num_images;
  int size;  // S
};

// What the lanes of one image share.
struct Shared {
  std::uint32_t histograms[3][256];
  std::uint8_t tables[3][256];
  Counter luma_sum;
};

template <typename Lanes, typename Body>
MASKEDKD_KERNEL void for_each(const Lanes& lanes, int count, const Body& body) {
  for (int i = lanes.index; i < count; i += lanes.count) {
    body(i);
  }
  lanes.wait();
}

}  // namespace maskedkd::kernel
