#include "devices.hpp"

#include "faults.hpp"
#include "memory.hpp"
#include "settings.hpp"
#include "trace.hpp"

#include <dlfcn.h>
#include <pthread.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

namespace maskedkd::null_device {
namespace {

thread_local int thread_device = 0;
thread_local int thread_error = 0;
std::array<std::atomic<bool>, kMostDevices> contexts;

std::array<unsigned char, 16> uuid_of(int physical) {
  std::array<unsigned char, 16> uuid{};
  for (std::size_t i = 0; i < uuid.size(); ++i) {
    uuid[i] = static_cast<unsigned char>(0xA0 + i);
  }
  uuid[0] = static_cast<unsigned char>(physical);
  return uuid;
}

std::string uuid_text(int physical) {
  std::string text = "GPU-";
  const auto uuid = uuid_of(physical);
  for (std::size_t i = 0; i < uuid.size(); ++i) {
    char byte[4];
    std::snprintf(byte, sizeof(byte), "%02x", uuid[i]);
    text += byte;
    text += i == 3 || i == 5 || i == 7 || i == 9 ? "-" : "";
  }
  return text;
}

// The physical device that an entry of CUDA_VISIBLE_DEVICES names, or -1.
int device_named(const std::string& entry) {
  if (entry.starts_with("GPU-")) {
    for (int device = 0; device < settings().num_devices; ++device) {
      if (uuid_text(device).starts_with(entry)) {
        return device;
      }
    }
    return -1;
  }
  char* end = nullptr;
  const long number = std::strtol(entry.c_str(), &end, 10);
  return end == entry.c_str() || *end != '\0' || number < 0 || number >= settings().num_devices
             ? -1
             : static_cast<int>(number);
}

// As CUDA reads it: up to the first entry that names no device.
std::vector<int> visible_devices() {
  std::vector<int> visible;
  const char* text = std::getenv("CUDA_VISIBLE_DEVICES");
  if (text == nullptr) {
    for (int device = 0; device < settings().num_devices; ++device) {
      visible.push_back(device);
    }
    return visible;
  }
  for (const char* at = text; *at != '\0';) {
    const std::size_t length = std::strcspn(at, ",");
    const int device = device_named(std::string(at, length));
    if (device < 0) {
      break;
    }
    visible.push_back(device);
    at += length + (at[length] == ',' ? 1 : 0);
  }
  return visible;
}

const std::vector<int>& devices() {
  static const auto* const visible = new std::vector<int>(visible_devices());
  return *visible;
}

template <typename Text>
Text of_runtime(const char* function, cudaError_t code) {
  const auto real = reinterpret_cast<Text (*)(cudaError_t)>(dlsym(RTLD_NEXT, function));
  return real != nullptr ? real(code) : "an error of CUDA";
}

}  // namespace

int num_devices() { return static_cast<int>(devices().size()); }
int current_device() { return thread_device; }
void set_current_device(int device) { thread_device = device; }
bool has_context(int device) { return contexts[static_cast<std::size_t>(device)]; }

void touch_context(const char* call) {
  if (contexts[static_cast<std::size_t>(thread_device)].load(std::memory_order_relaxed) ||
      contexts[static_cast<std::size_t>(thread_device)].exchange(true)) {
    return;
  }
  char thread[32] = "";
  pthread_getname_np(pthread_self(), thread, sizeof(thread));
  log_line("context on device %d, by %s in thread %s", thread_device, call, thread);
  record(Call::context, {.name = call, .device = thread_device});
}

cudaError_t result(int code) {
  if (code != 0) {
    thread_error = code;
  }
  return static_cast<cudaError_t>(code);
}

}  // namespace maskedkd::null_device

using namespace maskedkd::null_device;

NULL_DEVICE_EXPORT cudaError_t cudaGetDeviceCount(int* count) {
  *count = num_devices();
  if (settings().driver_version < CUDART_VERSION) {
    *count = 0;
    return result(settings().driver_version == 0 ? cudaErrorNoDevice : cudaErrorInsufficientDriver);
  }
  return *count == 0 ? result(cudaErrorNoDevice) : cudaSuccess;
}
NULL_DEVICE_EXPORT cudaError_t cudaGetDevice(int* device) {
  *device = current_device();
  return cudaSuccess;
}
NULL_DEVICE_EXPORT cudaError_t cudaSetDevice(int device) {
  if (device < 0 || device >= num_devices()) {
    mistake("cudaSetDevice(%d) of %d devices", device, num_devices());
    return result(cudaErrorInvalidDevice);
  }
  set_current_device(device);
  touch_context("cudaSetDevice");
  return result(record(Call::set_device, {.device = device}));
}
NULL_DEVICE_EXPORT cudaError_t cudaGetDeviceProperties(cudaDeviceProp* p, int device) {
  if (device < 0 || device >= num_devices()) {
    return result(cudaErrorInvalidDevice);
  }
  *p = {};
  const int physical = devices()[static_cast<std::size_t>(device)];
  const auto& names = settings().names;
  const std::string name =
      names.empty() ? "Null H100 80GB HBM3" : names[std::min(names.size() - 1, static_cast<std::size_t>(physical))];
  std::snprintf(p->name, sizeof(p->name), "%s", name.c_str());
  const auto uuid = uuid_of(physical);
  std::memcpy(p->uuid.bytes, uuid.data(), uuid.size());
  p->totalGlobalMem = settings().memory_bytes;
  p->sharedMemPerBlock = 49152;
  p->regsPerBlock = 65536;
  p->warpSize = 32;
  p->memPitch = 2147483647;
  p->maxThreadsPerBlock = 1024;
  p->maxThreadsDim[0] = p->maxThreadsDim[1] = 1024;
  p->maxThreadsDim[2] = 64;
  p->maxGridSize[0] = 2147483647;
  p->maxGridSize[1] = p->maxGridSize[2] = 65535;
  p->totalConstMem = 65536;
  p->major = 9;
  p->minor = 0;
  p->textureAlignment = 512;
  p->texturePitchAlignment = 32;
  p->multiProcessorCount = 132;
  p->canMapHostMemory = 1;
  p->concurrentKernels = 1;
  p->ECCEnabled = 1;
  p->pciBusID = 0x10 + physical;
  p->asyncEngineCount = 3;
  p->unifiedAddressing = 1;
  p->memoryBusWidth = 5120;
  p->l2CacheSize = 50 << 20;
  p->persistingL2CacheMaxSize = 32 << 20;
  p->maxThreadsPerMultiProcessor = 2048;
  p->streamPrioritiesSupported = 1;
  p->globalL1CacheSupported = p->localL1CacheSupported = 1;
  p->sharedMemPerMultiprocessor = 233472;
  p->regsPerMultiprocessor = 65536;
  p->managedMemory = 1;
  p->cooperativeLaunch = 1;
  p->sharedMemPerBlockOptin = 232448;
  p->maxBlocksPerMultiProcessor = 32;
  p->reservedSharedMemPerBlock = 1024;
  p->hostRegisterSupported = 1;
  p->memoryPoolsSupported = 1;
  p->clusterLaunch = 1;
  return cudaSuccess;
}
NULL_DEVICE_EXPORT cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
  cudaDeviceProp p;
  if (const cudaError_t code = cudaGetDeviceProperties(&p, device)) {
    return code;
  }
  switch (attribute) {
    case cudaDevAttrMaxThreadsPerBlock:
    case cudaDevAttrMaxBlockDimX:
    case cudaDevAttrMaxBlockDimY:
      *value = p.maxThreadsPerBlock;
      break;
    case cudaDevAttrMaxBlockDimZ:
      *value = p.maxThreadsDim[2];
      break;
    case cudaDevAttrMaxGridDimX:
      *value = p.maxGridSize[0];
      break;
    case cudaDevAttrMaxGridDimY:
    case cudaDevAttrMaxGridDimZ:
      *value = p.maxGridSize[1];
      break;
    case cudaDevAttrMaxSharedMemoryPerBlock:
      *value = static_cast<int>(p.sharedMemPerBlock);
      break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
      *value = static_cast<int>(p.sharedMemPerBlockOptin);
      break;
    case cudaDevAttrMaxSharedMemoryPerMultiprocessor:
      *value = static_cast<int>(p.sharedMemPerMultiprocessor);
      break;
    case cudaDevAttrReservedSharedMemoryPerBlock:
      *value = static_cast<int>(p.reservedSharedMemPerBlock);
      break;
    case cudaDevAttrWarpSize:
      *value = p.warpSize;
      break;
    case cudaDevAttrMultiProcessorCount:
      *value = p.multiProcessorCount;
      break;
    case cudaDevAttrMaxThreadsPerMultiProcessor:
      *value = p.maxThreadsPerMultiProcessor;
      break;
    case cudaDevAttrMaxRegistersPerBlock:
    case cudaDevAttrMaxRegistersPerMultiprocessor:
      *value = p.regsPerBlock;
      break;
    case cudaDevAttrComputeCapabilityMajor:
      *value = p.major;
      break;
    case cudaDevAttrComputeCapabilityMinor:
      *value = p.minor;
      break;
    case cudaDevAttrL2CacheSize:
      *value = p.l2CacheSize;
      break;
    case cudaDevAttrClockRate:
      *value = 1980000;
      break;
    case cudaDevAttrUnifiedAddressing:
    case cudaDevAttrConcurrentKernels:
    case cudaDevAttrCooperativeLaunch:
    case cudaDevAttrCanMapHostMemory:
    case cudaDevAttrMemoryPoolsSupported:
    case cudaDevAttrHostRegisterSupported:
      *value = 1;
      break;
    default:
      *value = 0;
      log_line("device attribute %d is not known: 0", static_cast<int>(attribute));
  }
  return cudaSuccess;
}
NULL_DEVICE_EXPORT cudaError_t cudaDeviceGetPCIBusId(char* text, int length, int device) {
  std::snprintf(text, static_cast<std::size_t>(length), "0000:%02x:00.0",
                0x10 + devices()[static_cast<std::size_t>(device)]);
  return cudaSuccess;
}
NULL_DEVICE_EXPORT cudaError_t cudaDeviceGetStreamPriorityRange(int* least, int* greatest) {
  *least = 0;
  *greatest = -5;
  return cudaSuccess;
}
NULL_DEVICE_EXPORT cudaError_t cudaDeviceCanAccessPeer(int* can, int device, int peer) {
  *can = device != peer ? 1 : 0;
  return cudaSuccess;
}
NULL_DEVICE_EXPORT cudaError_t cudaDeviceEnablePeerAccess(int, unsigned) { return cudaSuccess; }
NULL_DEVICE_EXPORT cudaError_t cudaDriverGetVersion(int* version) {
  *version = settings().driver_version;
  return cudaSuccess;
}
NULL_DEVICE_EXPORT cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = CUDART_VERSION;
  return cudaSuccess;
}
NULL_DEVICE_EXPORT cudaError_t cudaGetLastError() {
  const int code = thread_error;
  if (sticky_error() == 0) {
    thread_error = 0;
  }
  return static_cast<cudaError_t>(code);
}
NULL_DEVICE_EXPORT cudaError_t cudaPeekAtLastError() { return static_cast<cudaError_t>(thread_error); }
NULL_DEVICE_EXPORT const char* cudaGetErrorString(cudaError_t code) {
  return of_runtime<const char*>("cudaGetErrorString", code);
}
NULL_DEVICE_EXPORT const char* cudaGetErrorName(cudaError_t code) {
  return of_runtime<const char*>("cudaGetErrorName", code);
}
