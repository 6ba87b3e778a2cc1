// The driver's API, as far as LibTorch asks for it by name; any other function reports a mistake where it is called.
#include "devices.hpp"
#include "launches.hpp"
#include "memory.hpp"
#include "settings.hpp"
#include "trace.hpp"

#include <cuda.h>
#include <dlfcn.h>

#include <array>
#include <cstdio>
#include <cstring>
#include <mutex>
#include <string>
#include <utility>

namespace maskedkd::null_device {
namespace {

int contexts[kMostDevices];  // their addresses stand for the devices' contexts

CUcontext context_of(int device) { return reinterpret_cast<CUcontext>(&contexts[device]); }

// Functions for names that this library does not know: each knows its number, which knows the name.
constexpr int kMostUnknown = 64;
std::array<std::string, kMostUnknown> unknown_names;

template <int Number>
CUresult unknown() {
  mistake("the driver's function %s is not implemented", unknown_names[Number].c_str());
  return CUDA_ERROR_NOT_SUPPORTED;
}
template <int... Numbers>
constexpr auto make_unknown(std::integer_sequence<int, Numbers...>) {
  return std::array<CUresult (*)(), sizeof...(Numbers)>{unknown<Numbers>...};
}

void* unknown_function(const char* name) {
  static constexpr auto kFunctions = make_unknown(std::make_integer_sequence<int, kMostUnknown>());
  static std::mutex mutex;
  static std::size_t count = 0;
  const std::lock_guard lock(mutex);
  const std::size_t number = count++ % kMostUnknown;
  unknown_names[number] = name;
  return reinterpret_cast<void*>(kFunctions[number]);
}

CUresult of_runtime(cudaError_t code) { return static_cast<CUresult>(code); }

}  // namespace
}  // namespace maskedkd::null_device

using namespace maskedkd::null_device;

NULL_DEVICE_EXPORT CUresult cuInit(unsigned) { return CUDA_SUCCESS; }
NULL_DEVICE_EXPORT CUresult cuDriverGetVersion(int* version) { return of_runtime(cudaDriverGetVersion(version)); }
NULL_DEVICE_EXPORT CUresult cuDeviceGet(CUdevice* device, int ordinal) {
  *device = ordinal;
  return CUDA_SUCCESS;
}
NULL_DEVICE_EXPORT CUresult cuDeviceGetCount(int* count) { return of_runtime(cudaGetDeviceCount(count)); }
NULL_DEVICE_EXPORT CUresult cuDeviceGetAttribute(int* value, CUdevice_attribute attribute, CUdevice device) {
  return of_runtime(cudaDeviceGetAttribute(value, static_cast<cudaDeviceAttr>(attribute), device));
}
NULL_DEVICE_EXPORT CUresult cuGetErrorString(CUresult code, const char** text) {
  *text = cudaGetErrorString(static_cast<cudaError_t>(code));
  return CUDA_SUCCESS;
}
NULL_DEVICE_EXPORT CUresult cuGetErrorName(CUresult code, const char** text) {
  *text = cudaGetErrorName(static_cast<cudaError_t>(code));
  return CUDA_SUCCESS;
}
NULL_DEVICE_EXPORT CUresult cuCtxGetCurrent(CUcontext* context) {
  *context = has_context(current_device()) ? context_of(current_device()) : nullptr;
  return CUDA_SUCCESS;
}
NULL_DEVICE_EXPORT CUresult cuCtxSetCurrent(CUcontext context) {
  for (int device = 0; device < num_devices(); ++device) {
    if (context == context_of(device)) {
      set_current_device(device);
    }
  }
  return CUDA_SUCCESS;
}
NULL_DEVICE_EXPORT CUresult cuDevicePrimaryCtxGetState(CUdevice device, unsigned* flags, int* active) {
  *flags = 0;
  *active = has_context(device) ? 1 : 0;
  return CUDA_SUCCESS;
}
NULL_DEVICE_EXPORT CUresult cuDevicePrimaryCtxRetain(CUcontext* context, CUdevice device) {
  *context = context_of(device);
  return CUDA_SUCCESS;
}
NULL_DEVICE_EXPORT CUresult cuPointerGetAttribute(void* value, CUpointer_attribute attribute, CUdeviceptr pointer) {
  const int device = device_of(reinterpret_cast<void*>(pointer));
  if (attribute != CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL || device < 0) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  *static_cast<int*>(value) = device;
  return CUDA_SUCCESS;
}
NULL_DEVICE_EXPORT CUresult cuTensorMapEncodeTiled(CUtensorMap* map, CUtensorMapDataType, cuuint32_t, void*,
                                                   const cuuint64_t*, const cuuint64_t*, const cuuint32_t*,
                                                   const cuuint32_t*, CUtensorMapInterleave, CUtensorMapSwizzle,
                                                   CUtensorMapL2promotion, CUtensorMapFloatOOBfill) {
  *map = {};
  return CUDA_SUCCESS;
}
NULL_DEVICE_EXPORT CUresult cuLaunchKernel(CUfunction, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned,
                                           unsigned, CUstream stream, void**, void**) {
  return static_cast<CUresult>(launch(Call::launch, "cuLaunchKernel", stream));
}

NULL_DEVICE_EXPORT cudaError_t cudaGetDriverEntryPointByVersion(const char* symbol, void** function, unsigned,
                                                                unsigned long long,
                                                                cudaDriverEntryPointQueryResult* status) {
  static void* const own = [] {
    Dl_info info{};
    dladdr(reinterpret_cast<void*>(&cuInit), &info);
    return dlopen(info.dli_fname, RTLD_NOW | RTLD_NOLOAD);
  }();
  *function = own != nullptr ? dlsym(own, symbol) : nullptr;
  if (*function == nullptr) {
    *function = unknown_function(symbol);
  }
  if (status != nullptr) {
    *status = cudaDriverEntryPointSuccess;
  }
  return cudaSuccess;
}

// Called by the generated functions for everything that is imported and not implemented.
NULL_DEVICE_EXPORT int null_device_not_implemented(const char* name, int code) {
  mistake("%s is not implemented", name);
  return code;
}
