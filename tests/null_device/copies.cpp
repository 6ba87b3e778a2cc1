// Copies and memsets. A copy reads its source when it is executed; only pageable memory is read when it is called, as
// CUDA stages it.
#include "capture.hpp"
#include "devices.hpp"
#include "faults.hpp"
#include "memory.hpp"
#include "settings.hpp"
#include "streams.hpp"
#include "trace.hpp"

#include <sys/mman.h>

#include <atomic>
#include <cstring>
#include <vector>

namespace maskedkd::null_device {
namespace {

constexpr std::size_t kLargestScalars = 1024, kTimedCopy = 64 << 10, kPage = 4096;

struct Copy {
  void* to = nullptr;
  const void* from = nullptr;
  std::size_t size = 0;
  cudaMemcpyKind kind = cudaMemcpyDefault;
  std::uint64_t number = 0;  // among the copies to the device
  bool pageable = false;     // on the side of the host
};

cudaMemcpyKind kind_of(const void* to, const void* from) {
  if (device_of(to) >= 0) {
    return device_of(from) >= 0 ? cudaMemcpyDeviceToDevice : cudaMemcpyHostToDevice;
  }
  return device_of(from) >= 0 ? cudaMemcpyDeviceToHost : cudaMemcpyHostToHost;
}

// As a double where the size allows it, else as a float.
void write_scalar(char* bytes, std::size_t size, float value, std::size_t index) {
  const double wide = static_cast<double>(value);
  if (size % sizeof(wide) == 0 && (index + 1) * sizeof(wide) <= size) {
    std::memcpy(bytes + index * sizeof(wide), &wide, sizeof(wide));
  } else if ((index + 1) * sizeof(value) <= size) {
    std::memcpy(bytes + index * sizeof(value), &value, sizeof(value));
  }
}

// Kernels write nothing, so what is read as a loss or a norm may be bytes of an image: numbers that are not finite
// become 0.
void mend_scalars(char* bytes, std::size_t size) {
  static std::atomic<long long> scalars{0};
  if (size > kLargestScalars || size % sizeof(float) != 0) {
    return;
  }
  for (std::size_t at = 0; settings().mend_scalars && at < size; at += sizeof(float)) {
    constexpr std::uint32_t kExponent = 0x7f800000;
    std::uint32_t word = 0;
    std::memcpy(&word, bytes + at, sizeof(word));
    if ((word & kExponent) == kExponent) {
      std::memset(bytes + at, 0, sizeof(word));
    }
  }
  if (++scalars == settings().scalar_number) {
    log_line("scalar number %lld is read as %g", settings().scalar_number,
             static_cast<double>(settings().scalar_value));
    write_scalar(bytes, size, settings().scalar_value, settings().scalar_index);
  } else if (settings().garbage && results_are_garbage()) {
    write_scalar(bytes, size, *settings().garbage, 0);
  }
}

Call call_of(const Copy& copy) {
  switch (copy.kind) {
    case cudaMemcpyHostToDevice:
      return copy.pageable ? Call::h2d_pageable : Call::h2d_pinned;
    case cudaMemcpyDeviceToHost:
      return copy.pageable ? Call::d2h_pageable : Call::d2h_pinned;
    case cudaMemcpyDeviceToDevice:
      return device_of(copy.to) == device_of(copy.from) ? Call::d2d : Call::p2p;
    default:
      return Call::h2h;
  }
}

void execute(const Copy& copy, const void* from) {
  if (copy.size > settings().largest_copy_bytes && copy.kind != cudaMemcpyHostToHost) {
    return;
  }
  char* to = device_of(copy.to) >= 0 ? alias_of(copy.to) : static_cast<char*>(copy.to);
  std::memmove(to, device_of(from) >= 0 ? alias_of(from) : from, copy.size);
  if ((copy.kind == cudaMemcpyHostToDevice && !copy.pageable) || copy.kind == cudaMemcpyDeviceToDevice) {
    record_digest(call_of(copy), copy.number, to, copy.size);
  } else if (copy.kind == cudaMemcpyDeviceToHost) {
    mend_scalars(to, copy.size);
  }
}

Work work_of(const Copy& copy) {
  if (!copy.pageable || copy.kind != cudaMemcpyHostToDevice) {
    return [copy] {
      return [copy] {
        execute(copy, copy.from);
        return Progress::finished;
      };
    };
  }
  const auto* bytes = static_cast<const char*>(copy.from);
  const std::size_t kept = copy.size > settings().largest_copy_bytes ? 0 : copy.size;
  auto stage = std::make_shared<std::vector<char>>(bytes, bytes + kept);
  return [copy, stage] {
    return [copy, stage] {
      execute(copy, stage->data());
      return Progress::finished;
    };
  };
}

cudaError_t start(Copy copy, cudaMemcpyKind kind, cudaStream_t handle, bool asynchronous) {
  static std::atomic<std::uint64_t> uploads{0};
  touch_context("a copy");
  copy.kind = kind_of(copy.to, copy.from);
  if (kind != cudaMemcpyDefault && kind != copy.kind) {
    mistake("a copy of kind %d is of kind %d", static_cast<int>(kind), static_cast<int>(copy.kind));
    return result(cudaErrorInvalidValue);
  }
  for (const void* side : {const_cast<const void*>(copy.to), copy.from}) {
    if (copy.size != 0 && device_of(side) >= 0 && !is_allocated(side, copy.size)) {
      mistake("a copy of %zu bytes outside of any allocation", copy.size);
      return result(cudaErrorInvalidValue);
    }
  }
  const bool upload = copy.kind == cudaMemcpyHostToDevice, download = copy.kind == cudaMemcpyDeviceToHost;
  copy.pageable = (upload && !is_pinned(copy.from, copy.size)) || (download && !is_pinned(copy.to, copy.size));
  const bool waits = !asynchronous || (download && copy.pageable) || copy.kind == cudaMemcpyHostToHost;
  const StreamState state = state_of(handle);
  const int device = device_of(upload ? copy.to : copy.from);
  if (state.capturing && (waits || copy.pageable)) {
    return result(refuse_in_capture_of(state.stream, "a copy of pageable memory, or one that waits,"));
  }
  if (!state.capturing && !asynchronous) {
    if (const int code = refuse_in_capture("a copy that waits")) {
      return result(code);
    }
  }
  if (upload) {
    copy.number = ++uploads;
    if (copy.size >= kTimedCopy) {
      record_times();
    }
  }
  if (!state.capturing) {
    int code = record(call_of(copy), {.size = copy.size, .device = device, .stream = state.stream.get()});
    if (code == 0 && waits) {
      code = record(Call::blocking_copy, {.size = copy.size, .device = device, .stream = state.stream.get()});
    }
    if (code != 0) {
      return result(code);
    }
  }
  if (const cudaError_t code = submit(state.stream, work_of(copy))) {
    return result(code);
  }
  if (waits) {
    wait_for(end_of(state.stream));
  }
  return result(waits ? sticky_error() : 0);
}

cudaError_t set(void* pointer, int value, std::size_t size, cudaStream_t handle, bool asynchronous) {
  touch_context("a memset");
  if (size != 0 && !is_allocated(pointer, size)) {
    mistake("a memset of %zu bytes outside of any allocation", size);
    return result(cudaErrorInvalidValue);
  }
  const StreamState state = state_of(handle);
  if (!state.capturing) {
    const int code = record(Call::memset, {.size = size, .device = device_of(pointer), .stream = state.stream.get()});
    if (code != 0) {
      return result(code);
    }
    const int refused = asynchronous ? 0 : refuse_in_capture("cudaMemset");
    if (refused != 0) {
      return result(refused);
    }
  }
  return result(submit(state.stream, [pointer, value, size] {
    return [pointer, value, size] {
      char* at = alias_of(pointer);
      char* const end = at + size;
      if (value == 0 && size > 16 * kPage) {  // gives whole pages back, which read as zeros
        char* const first = at + (kPage - reinterpret_cast<std::uintptr_t>(at) % kPage) % kPage;
        const std::size_t pages = static_cast<std::size_t>(end - first) / kPage * kPage;
        madvise(first, pages, MADV_DONTNEED);
        std::memset(at, 0, static_cast<std::size_t>(first - at));
        at = first + pages;
      }
      std::memset(at, value, static_cast<std::size_t>(end - at));
      return Progress::finished;
    };
  }));
}

}  // namespace
}  // namespace maskedkd::null_device

using namespace maskedkd::null_device;

NULL_DEVICE_EXPORT cudaError_t cudaMemcpy(void* to, const void* from, size_t size, cudaMemcpyKind kind) {
  return start({.to = to, .from = from, .size = size}, kind, nullptr, /*asynchronous=*/false);
}
NULL_DEVICE_EXPORT cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t size, cudaMemcpyKind kind,
                                               cudaStream_t stream) {
  return start({.to = to, .from = from, .size = size}, kind, stream, /*asynchronous=*/true);
}
NULL_DEVICE_EXPORT cudaError_t cudaMemcpyPeerAsync(void* to, int, const void* from, int, size_t size,
                                                   cudaStream_t stream) {
  return start({.to = to, .from = from, .size = size}, cudaMemcpyDeviceToDevice, stream, /*asynchronous=*/true);
}
NULL_DEVICE_EXPORT cudaError_t cudaMemcpyToSymbol(const void* symbol, const void* from, size_t size, size_t offset,
                                                  cudaMemcpyKind kind) {
  void* to = nullptr;
  if (const cudaError_t code = cudaGetSymbolAddress(&to, symbol)) {
    return code;
  }
  return start({.to = static_cast<char*>(to) + offset, .from = from, .size = size}, kind, nullptr, false);
}
NULL_DEVICE_EXPORT cudaError_t cudaMemset(void* pointer, int value, size_t size) {
  return set(pointer, value, size, nullptr, /*asynchronous=*/false);
}
NULL_DEVICE_EXPORT cudaError_t cudaMemsetAsync(void* pointer, int value, size_t size, cudaStream_t stream) {
  return set(pointer, value, size, stream, /*asynchronous=*/true);
}
