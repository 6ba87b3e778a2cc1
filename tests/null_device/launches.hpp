// Kernels and products: what is checked where one is launched. They do nothing.
#pragma once

#include "trace.hpp"

#include <cuda_runtime_api.h>

namespace maskedkd::null_device {

// A launch or a product by the name `name` on a stream of the current device, which also is that of the library's
// handle (handle_device; -1: there is none) and of the memory that is written (nullptr: not known). Returns an error
// code.
int launch(Call call, const char* name, cudaStream_t stream, int handle_device = -1, const void* written = nullptr);

}  // namespace maskedkd::null_device
