// The kernel of prepare_kernel.hpp on a GPU; built only with nvcc.
#pragma once

#include "prepare_kernel.hpp"

struct CUstream_st;

namespace maskedkd::kernel {

// batch: in the current GPU's memory; without targets num_classes is 0. Queues one launch on the stream, whose
// dimensions depend on the batch's shapes alone. Returns its cudaError_t.
int prepare_on_device(const Preparation& batch, CUstream_st* stream);

}  // namespace maskedkd::kernel
