// The kernel on a GPU: augment_device.cu, built where there is nvcc.
#pragma once

#include "augment_batch.hpp"

struct CUstream_st;

namespace maskedkd::kernel {

// All in the current GPU's memory. Queues one launch on the stream; nullptr, or what CUDA says is wrong.
const char* augment_on_device(const AugmentBatch& batch, CUstream_st* stream);

}  // namespace maskedkd::kernel
