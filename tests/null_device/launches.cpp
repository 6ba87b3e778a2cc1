#include "launches.hpp"

#include "capture.hpp"
#include "devices.hpp"
#include "memory.hpp"
#include "streams.hpp"

#include <algorithm>
#include <cstring>
#include <mutex>
#include <unordered_map>
#include <vector>

namespace maskedkd::null_device {
namespace {

constexpr std::size_t kStaticShared = 49152, kMostShared = 232448;

struct Kernel {
  const char* name = "?";  // a text of the library that registered it
  std::size_t most_dynamic_shared = kStaticShared;
};

struct Kernels {
  std::mutex mutex;
  std::unordered_map<const void*, Kernel> by_function;
};

Kernels& kernels() {
  static Kernels* const made = new Kernels;
  return *made;
}

Kernel kernel_of(const void* function) {
  const std::lock_guard lock(kernels().mutex);
  return kernels().by_function[function];
}

struct Configuration {
  dim3 grid, block;
  std::size_t shared;
  cudaStream_t stream;
};
thread_local std::vector<Configuration> configurations;

cudaError_t launch_kernel(const void* function, const Configuration& c) {
  const Kernel kernel = kernel_of(function);
  const std::uint64_t threads = std::uint64_t{c.block.x} * c.block.y * c.block.z;
  if (c.grid.x == 0 || c.grid.y == 0 || c.grid.z == 0 || threads == 0 || threads > 1024 || c.grid.y > 65535 ||
      c.grid.z > 65535 || c.block.z > 64 || c.grid.x > 2147483647U) {
    mistake("launch of %s with grid (%u, %u, %u) and block (%u, %u, %u)", kernel.name, c.grid.x, c.grid.y, c.grid.z,
            c.block.x, c.block.y, c.block.z);
    return result(cudaErrorInvalidConfiguration);
  }
  if (c.shared > kernel.most_dynamic_shared) {
    mistake("launch of %s with %zu bytes of dynamic shared memory, where %zu are allowed", kernel.name, c.shared,
            kernel.most_dynamic_shared);
    return result(cudaErrorInvalidValue);
  }
  return result(launch(Call::launch, kernel.name, c.stream));
}

}  // namespace

int launch(Call call, const char* name, cudaStream_t handle, int handle_device, const void* written) {
  touch_context(name);
  Scheduler& s = scheduler();
  std::shared_ptr<Stream> stream;
  {
    const std::lock_guard lock(s.mutex);
    stream = s.find(handle);
    if (stream->capture != nullptr) {
      if (const int code = add_node(*stream, {})) {
        return code;
      }
      call = Call::num_calls;
    }
  }
  if (call != Call::num_calls) {
    if (const int code = record(call, {.name = name, .device = stream->device, .stream = stream.get()})) {
      return code;
    }
  }
  const int device = current_device();
  if (stream->device != device || (handle_device >= 0 && handle_device != device)) {
    mistake("launch of %s on a stream of device %d, with a handle of device %d, while device %d is current", name,
            stream->device, handle_device, device);
    return cudaErrorInvalidResourceHandle;
  }
  if (written != nullptr && device_of(written) != device) {
    mistake("launch of %s that writes to device %d, while device %d is current", name, device_of(written), device);
    return cudaErrorInvalidValue;
  }
  return 0;
}

}  // namespace maskedkd::null_device

using namespace maskedkd::null_device;

NULL_DEVICE_EXPORT void** __cudaRegisterFatBinary(void*) {
  static void* handle[4];
  return handle;
}
NULL_DEVICE_EXPORT void __cudaRegisterFatBinaryEnd(void**) {}
NULL_DEVICE_EXPORT void __cudaUnregisterFatBinary(void**) {}
NULL_DEVICE_EXPORT void __cudaRegisterVar(void**, char* host, char*, const char*, int, size_t size, int, int) {
  register_variable(host, size);
}
NULL_DEVICE_EXPORT void __cudaRegisterFunction(void**, const char* host, char*, const char* name, int, uint3*, uint3*,
                                               dim3*, dim3*, int*) {
  const std::lock_guard lock(kernels().mutex);
  kernels().by_function[host].name = name;
}
NULL_DEVICE_EXPORT cudaError_t __cudaGetKernel(cudaKernel_t* kernel, const void* function) {
  *kernel = reinterpret_cast<cudaKernel_t>(const_cast<void*>(function));
  return cudaSuccess;
}
NULL_DEVICE_EXPORT unsigned __cudaPushCallConfiguration(dim3 grid, dim3 block, size_t shared, cudaStream_t stream) {
  configurations.push_back({grid, block, shared, stream});
  return 0;
}
NULL_DEVICE_EXPORT cudaError_t __cudaPopCallConfiguration(dim3* grid, dim3* block, size_t* shared, void* stream) {
  if (configurations.empty()) {
    return result(cudaErrorMissingConfiguration);
  }
  const Configuration last = configurations.back();
  configurations.pop_back();
  *grid = last.grid;
  *block = last.block;
  *shared = last.shared;
  *static_cast<cudaStream_t*>(stream) = last.stream;
  return cudaSuccess;
}

NULL_DEVICE_EXPORT cudaError_t __cudaLaunchKernel(cudaKernel_t kernel, dim3 grid, dim3 block, void**, size_t shared,
                                                  cudaStream_t stream) {
  return launch_kernel(reinterpret_cast<const void*>(kernel), {grid, block, shared, stream});
}
NULL_DEVICE_EXPORT cudaError_t cudaLaunchKernel(const void* function, dim3 grid, dim3 block, void**, size_t shared,
                                                cudaStream_t stream) {
  return launch_kernel(function, {grid, block, shared, stream});
}
NULL_DEVICE_EXPORT cudaError_t cudaLaunchCooperativeKernel(const void* function, dim3 grid, dim3 block, void**,
                                                           size_t shared, cudaStream_t stream) {
  return launch_kernel(function, {grid, block, shared, stream});
}
NULL_DEVICE_EXPORT cudaError_t cudaLaunchKernelExC(const cudaLaunchConfig_t* c, const void* function, void**) {
  return launch_kernel(function, {c->gridDim, c->blockDim, c->dynamicSmemBytes, c->stream});
}
NULL_DEVICE_EXPORT cudaError_t cudaFuncSetAttribute(const void* function, cudaFuncAttribute attribute, int value) {
  const int code = record(Call::attribute);
  if (code == 0 && attribute == cudaFuncAttributeMaxDynamicSharedMemorySize) {
    if (value < 0 || static_cast<std::size_t>(value) > kMostShared) {
      mistake("%d bytes of dynamic shared memory requested", value);
      return result(cudaErrorInvalidValue);
    }
    const std::lock_guard lock(kernels().mutex);
    kernels().by_function[function].most_dynamic_shared = std::max(kStaticShared, static_cast<std::size_t>(value));
  }
  return result(code);
}
NULL_DEVICE_EXPORT cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* attributes, const void* function) {
  *attributes = {};
  attributes->maxThreadsPerBlock = 1024;
  attributes->numRegs = 32;
  attributes->ptxVersion = 90;
  attributes->binaryVersion = 90;
  attributes->maxDynamicSharedSizeBytes = static_cast<int>(kernel_of(function).most_dynamic_shared);
  return result(record(Call::attribute));
}
NULL_DEVICE_EXPORT cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, const void*, int block,
                                                                             size_t shared) {
  const int by_shared = shared > 0 ? static_cast<int>(233472 / (shared + 1024)) : 32;
  *blocks = std::max(1, std::min({32, 2048 / std::max(block, 1), by_shared}));
  return cudaSuccess;
}
NULL_DEVICE_EXPORT cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int* blocks, const void* function,
                                                                                      int block, size_t shared,
                                                                                      unsigned) {
  return cudaOccupancyMaxActiveBlocksPerMultiprocessor(blocks, function, block, shared);
}
