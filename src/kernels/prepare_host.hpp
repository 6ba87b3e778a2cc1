// The kernel of prepare_kernel.hpp compiled for the CPU.
#pragma once

#include "prepare_kernel.hpp"

namespace maskedkd::kernel {

// Rows [first, last) of the B * S rows of pixels. batch: in the CPU's memory.
void prepare_rows_on_host(const Preparation& batch, std::int64_t first, std::int64_t last);
// All targets.
void prepare_targets_on_host(const Preparation& batch);

}  // namespace maskedkd::kernel
