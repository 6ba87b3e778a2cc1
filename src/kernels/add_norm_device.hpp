// The kernels of add_norm_kernel.hpp on a GPU; built only with nvcc. Work: in the current GPU's memory. Each call
// queues one launch on the stream, whose dimensions depend on the shapes alone, and returns its cudaError_t.
#pragma once

#include "add_norm_kernel.hpp"

struct CUstream_st;

namespace maskedkd::kernel {

int add_norm_on_device(const AddNorm<float>& work, CUstream_st* stream);
int add_norm_on_device(const AddNorm<Bfloat16>& work, CUstream_st* stream);
int add_norm_backward_on_device(const AddNormBackward<float>& work, CUstream_st* stream);
int add_norm_backward_on_device(const AddNormBackward<Bfloat16>& work, CUstream_st* stream);
// parts [groups, chunks, D] -> to [groups, D]
int add_chunks_on_device(const float* parts, int groups, std::int64_t chunks, int width, float* to,
                         CUstream_st* stream);

}  // namespace maskedkd::kernel
