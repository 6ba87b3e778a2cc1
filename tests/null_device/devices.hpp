// The devices of this process, the one that is current in each thread, its errors, and contexts.
#pragma once

#include <cuda_runtime_api.h>

// Symbols that replace those of CUDA's libraries.
#define NULL_DEVICE_EXPORT extern "C" __attribute__((visibility("default")))

namespace maskedkd::null_device {

int num_devices();  // that CUDA_VISIBLE_DEVICES leaves
int current_device();
void set_current_device(int device);

// Creates the context of the current device where there is none; a line in the log says which call did, in which
// thread.
void touch_context(const char* call);
bool has_context(int device);

// Remembers an error as that of the thread, for cudaGetLastError().
cudaError_t result(int code);

}  // namespace maskedkd::null_device
