// The kernel on a GPU; built only with nvcc.
#pragma once

#include "augment_batch.hpp"

struct CUstream_st;

namespace maskedkd::kernel {

// batch: in the current GPU's memory. Queues one launch on the stream. Returns its cudaError_t.
int augment_on_device(const AugmentBatch& batch, CUstream_st* stream);

}  // namespace maskedkd::kernel
