// The kernel of add_norm_kernel.hpp compiled for the CPU, for each of its vector units.
#pragma once

#include "add_norm_kernel.hpp"

namespace maskedkd::kernel {

// Rows [first, last).
void add_norm_on_host(const AddNorm<float>& work, std::int64_t first, std::int64_t last);
void add_norm_on_host(const AddNorm<Bfloat16>& work, std::int64_t first, std::int64_t last);
// Chunks [first, last).
void add_norm_backward_on_host(const AddNormBackward<float>& work, std::int64_t first, std::int64_t last);
void add_norm_backward_on_host(const AddNormBackward<Bfloat16>& work, std::int64_t first, std::int64_t last);
// parts [chunks, D] -> to [D], in the order of the chunks.
void add_chunks_on_host(const float* parts, std::int64_t chunks, int width, float* to);

}  // namespace maskedkd::kernel
