#include "memory.hpp"

#include "capture.hpp"
#include "devices.hpp"
#include "settings.hpp"
#include "streams.hpp"
#include "trace.hpp"

#include <execinfo.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <mutex>
#include <unordered_map>
#include <vector>

namespace maskedkd::null_device {
namespace {

constexpr std::size_t kPage = 4096, kSmall = 512, kLarge = std::size_t{2} << 20;

struct DeviceMemory {
  std::map<std::size_t, std::size_t> blocks;  // offset -> size
  std::size_t used = 0, peak = 0;
};

struct Variable {
  std::size_t size = 0;
  void* memory = nullptr;
};

struct Memory {
  std::mutex mutex;
  std::size_t span = settings().memory_bytes * 2;  // of addresses for each device: blocks are not moved
  char* base = nullptr;
  char* alias = nullptr;
  std::vector<DeviceMemory> devices = std::vector<DeviceMemory>(static_cast<std::size_t>(num_devices()));
  std::map<std::uintptr_t, std::size_t> pinned;
  std::unordered_map<const void*, Variable> variables;
};

Memory& memory();

// Reports an access to memory of a device, and lets the process end as without this handler.
void on_access(int number, siginfo_t* info, void*) {
  const int device = device_of(info->si_addr);
  if (device >= 0) {
    dprintf(STDERR_FILENO, "null_device[%d] HOST ACCESS TO DEVICE MEMORY at %p of device %d\n", settings().rank,
            info->si_addr, device);
    print_stack(STDERR_FILENO);
  }
  struct sigaction standard {};
  standard.sa_handler = SIG_DFL;
  sigaction(number, &standard, nullptr);
}

char* reserve(std::size_t size, int protection) {
  void* address = mmap(nullptr, size, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (address == MAP_FAILED) {
    std::fprintf(stderr, "null_device: no address space for the devices' memory\n");
    _exit(99);
  }
  madvise(address, size, MADV_DONTDUMP);
  return static_cast<char*>(address);
}

Memory* make_memory() {
  auto* made = new Memory;  // never destroyed: calls come until the process has ended
  const std::size_t size = std::max<std::size_t>(made->span * made->devices.size(), kPage);
  made->base = reserve(size, PROT_NONE);
  made->alias = reserve(size, PROT_READ | PROT_WRITE);
  void* frames[2];
  backtrace(frames, 2);  // loads what a stack in a signal handler needs
  struct sigaction action {};
  action.sa_sigaction = on_access;
  action.sa_flags = SA_SIGINFO;
  sigaction(SIGSEGV, &action, nullptr);
  return made;
}

Memory& memory() {
  static Memory* const made = make_memory();
  return *made;
}

std::size_t rounded_up(std::size_t size, std::size_t unit) { return (size + unit - 1) / unit * unit; }

// Calls while the mutex is held. Returns false where `pointer` is not an allocation.
bool release(Memory& m, void* pointer, int device) {
  DeviceMemory& of = m.devices[static_cast<std::size_t>(device)];
  const auto offset =
      static_cast<std::size_t>(static_cast<char*>(pointer) - m.base) - static_cast<std::size_t>(device) * m.span;
  const auto found = of.blocks.find(offset);
  if (found == of.blocks.end()) {
    return false;
  }
  const std::size_t first = rounded_up(offset, kPage), last = (offset + found->second) / kPage * kPage;
  if (first < last) {
    madvise(m.alias + static_cast<std::size_t>(device) * m.span + first, last - first, MADV_DONTNEED);
  }
  of.used -= found->second;
  of.blocks.erase(found);
  return true;
}

}  // namespace

int device_of(const void* pointer) {
  const Memory& m = memory();
  const auto* at = static_cast<const char*>(pointer);
  return at >= m.base && at < m.base + m.span * m.devices.size() ? static_cast<int>((at - m.base) / m.span) : -1;
}

char* alias_of(const void* pointer) {
  return device_of(pointer) < 0 ? nullptr : memory().alias + (static_cast<const char*>(pointer) - memory().base);
}

bool is_allocated(const void* pointer, std::size_t size) {
  const int device = device_of(pointer);
  if (device < 0) {
    return false;
  }
  Memory& m = memory();
  const std::lock_guard lock(m.mutex);
  const auto& blocks = m.devices[static_cast<std::size_t>(device)].blocks;
  const auto offset = static_cast<std::size_t>(static_cast<const char*>(pointer) - m.base) % m.span;
  const auto after = blocks.upper_bound(offset);
  return after != blocks.begin() && offset + size <= std::prev(after)->first + std::prev(after)->second;
}

bool is_pinned(const void* pointer, std::size_t size) {
  Memory& m = memory();
  const std::lock_guard lock(m.mutex);
  const auto address = reinterpret_cast<std::uintptr_t>(pointer);
  const auto after = m.pinned.upper_bound(address);
  return after != m.pinned.begin() && address + size <= std::prev(after)->first + std::prev(after)->second;
}

void* allocate(int device, std::size_t size) {
  Memory& m = memory();
  const std::lock_guard lock(m.mutex);
  DeviceMemory& of = m.devices[static_cast<std::size_t>(device)];
  const std::size_t unit = size >= (kLarge / 2) ? kLarge : kSmall;
  const std::size_t length = rounded_up(std::max<std::size_t>(size, 1), unit);
  if (of.used + length > settings().memory_bytes) {
    return nullptr;
  }
  std::size_t offset = 0;
  for (const auto& [begin, block] : of.blocks) {  // the first gap that is long enough
    if (offset + length <= begin) {
      break;
    }
    offset = rounded_up(begin + block, unit);
  }
  if (offset + length > m.span) {
    return nullptr;
  }
  of.blocks.emplace(offset, length);
  of.used += length;
  of.peak = std::max(of.peak, of.used);
  return m.base + static_cast<std::size_t>(device) * m.span + offset;
}

std::size_t used_bytes(int device) {
  Memory& m = memory();
  const std::lock_guard lock(m.mutex);
  return m.devices[static_cast<std::size_t>(device)].used;
}

std::size_t peak_bytes() { return num_devices() == 0 ? 0 : memory().devices[0].peak; }

void register_variable(const void* host, std::size_t size) {
  Memory& m = memory();
  const std::lock_guard lock(m.mutex);
  m.variables[host].size = size;
}

}  // namespace maskedkd::null_device

using namespace maskedkd::null_device;

NULL_DEVICE_EXPORT cudaError_t cudaMalloc(void** pointer, size_t size) {
  touch_context("cudaMalloc");
  *pointer = nullptr;
  if (const int code = record(Call::malloc, {.size = size, .device = current_device()})) {
    return result(code);
  }
  if (const int code = refuse_in_capture("cudaMalloc")) {
    return result(code);
  }
  if (size != 0) {
    *pointer = allocate(current_device(), size);
  }
  return *pointer == nullptr && size != 0 ? result(cudaErrorMemoryAllocation) : cudaSuccess;
}
NULL_DEVICE_EXPORT cudaError_t cudaFree(void* pointer) {
  touch_context("cudaFree");
  const int device = device_of(pointer);
  if (const int code = record(Call::free, {.device = device})) {
    return result(code);
  }
  if (pointer == nullptr) {
    return cudaSuccess;
  }
  if (const int code = refuse_in_capture("cudaFree")) {
    return result(code);
  }
  wait_for_device(device);  // as CUDA does
  Memory& m = memory();
  const std::lock_guard lock(m.mutex);
  if (device < 0 || !release(m, pointer, device)) {
    mistake("cudaFree(%p), which is not an allocation", pointer);
    return result(cudaErrorInvalidValue);
  }
  return cudaSuccess;
}
NULL_DEVICE_EXPORT cudaError_t cudaMallocAsync(void** pointer, size_t size, cudaStream_t) {
  return cudaMalloc(pointer, size);
}
NULL_DEVICE_EXPORT cudaError_t cudaFreeAsync(void* pointer, cudaStream_t) { return cudaFree(pointer); }
NULL_DEVICE_EXPORT cudaError_t cudaMemGetInfo(size_t* available, size_t* total) {
  touch_context("cudaMemGetInfo");
  *total = settings().memory_bytes;
  *available = *total - used_bytes(current_device());
  return cudaSuccess;
}

NULL_DEVICE_EXPORT cudaError_t cudaHostAlloc(void** pointer, size_t size, unsigned) {
  touch_context("cudaHostAlloc");
  *pointer = nullptr;
  if (const int code = record(Call::host_alloc, {.size = size})) {
    return result(code);
  }
  if (const int code = refuse_in_capture("cudaHostAlloc")) {
    return result(code);
  }
  void* address = mmap(nullptr, rounded_up(size, kPage), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (address == MAP_FAILED) {
    return result(cudaErrorMemoryAllocation);
  }
  Memory& m = memory();
  const std::lock_guard lock(m.mutex);
  m.pinned[reinterpret_cast<std::uintptr_t>(address)] = size;
  *pointer = address;
  return cudaSuccess;
}
NULL_DEVICE_EXPORT cudaError_t cudaMallocHost(void** pointer, size_t size) { return cudaHostAlloc(pointer, size, 0); }
NULL_DEVICE_EXPORT cudaError_t cudaFreeHost(void* pointer) {
  const int code = record(Call::host_free);
  if (pointer == nullptr || code != 0) {
    return result(code);
  }
  for (int device = 0; device < num_devices(); ++device) {
    wait_for_device(device);
  }
  Memory& m = memory();
  const std::lock_guard lock(m.mutex);
  const auto found = m.pinned.find(reinterpret_cast<std::uintptr_t>(pointer));
  if (found == m.pinned.end()) {
    mistake("cudaFreeHost(%p), which is not pinned memory", pointer);
    return result(cudaErrorInvalidValue);
  }
  munmap(pointer, rounded_up(found->second, kPage));
  m.pinned.erase(found);
  return cudaSuccess;
}
NULL_DEVICE_EXPORT cudaError_t cudaHostRegister(void* pointer, size_t size, unsigned) {
  touch_context("cudaHostRegister");
  if (const int code = record(Call::host_alloc, {.name = "cudaHostRegister", .size = size})) {
    return result(code);
  }
  Memory& m = memory();
  const std::lock_guard lock(m.mutex);
  m.pinned[reinterpret_cast<std::uintptr_t>(pointer)] = size;
  return cudaSuccess;
}
NULL_DEVICE_EXPORT cudaError_t cudaHostUnregister(void* pointer) {
  const int code = record(Call::host_free);
  Memory& m = memory();
  const std::lock_guard lock(m.mutex);
  const bool known = m.pinned.erase(reinterpret_cast<std::uintptr_t>(pointer)) != 0;
  return result(code != 0 ? code : known ? 0 : cudaErrorHostMemoryNotRegistered);
}

NULL_DEVICE_EXPORT cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* pointer) {
  *attributes = {};
  attributes->device = device_of(pointer);
  if (attributes->device >= 0) {
    attributes->type = cudaMemoryTypeDevice;
    attributes->devicePointer = const_cast<void*>(pointer);
  } else if (is_pinned(pointer, 1)) {
    attributes->type = cudaMemoryTypeHost;
    attributes->device = current_device();
    attributes->devicePointer = attributes->hostPointer = const_cast<void*>(pointer);
  } else {
    attributes->type = cudaMemoryTypeUnregistered;
    attributes->hostPointer = const_cast<void*>(pointer);
  }
  return cudaSuccess;
}
NULL_DEVICE_EXPORT cudaError_t cudaGetSymbolAddress(void** pointer, const void* symbol) {
  touch_context("cudaGetSymbolAddress");
  std::size_t size = 0;
  {
    Memory& m = memory();
    const std::lock_guard lock(m.mutex);
    const Variable& variable = m.variables[symbol];
    *pointer = variable.memory;
    size = variable.size;
  }
  if (*pointer == nullptr) {
    *pointer = allocate(current_device(), size);
    Memory& m = memory();
    const std::lock_guard lock(m.mutex);
    m.variables[symbol].memory = *pointer;
  }
  return *pointer == nullptr ? result(cudaErrorMemoryAllocation) : cudaSuccess;
}
