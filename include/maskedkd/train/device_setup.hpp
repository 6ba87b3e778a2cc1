// Prepares the device of a rank for training, once, before anything is computed on it.
#pragma once

#include <c10/core/Device.h>

namespace maskedkd {

// Of a GPU: the calling thread works on a stream of its own from now on, as only such a stream can be recorded as a
// CUDA graph; and cuBLAS has been started for this thread and for the one of the backward pass, so
// CUBLAS_WORKSPACE_CONFIG has had its effect and is removed from the environment: LibTorch 2.11 would parse it with a
// regular expression in every product, which takes longer than everything else that the host does. Does nothing on a
// CPU. Call it while no other thread reads the environment.
void set_up_device(at::Device device);

}  // namespace maskedkd
