#include "maskedkd/data/tensor_memory.hpp"

#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <mutex>
#include <unordered_map>

namespace maskedkd {
namespace {

constexpr std::size_t kSmallestBlock = std::size_t{1} << 20;
constexpr std::size_t kHugePage = std::size_t{2} << 20;
constexpr std::size_t kPage = 4096;

std::size_t rounded_up(std::size_t size, std::size_t unit) { return (size + unit - 1) / unit * unit; }

// Begins at the boundary of a huge page. nullptr where the kernel has no memory.
void* map_block(std::size_t size) {
  void* const all = ::mmap(nullptr, size + kHugePage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (all == MAP_FAILED) {
    return nullptr;
  }
  auto* const begin = static_cast<std::uint8_t*>(all);
  const auto address = reinterpret_cast<std::uintptr_t>(all);
  const std::size_t before = rounded_up(address, kHugePage) - address;
  if (before > 0) {
    ::munmap(begin, before);
  }
  ::munmap(begin + before + size, kHugePage - before);
  ::madvise(begin + before, size, MADV_HUGEPAGE);  // without huge pages the block has small ones
  return begin + before;
}

class BlockPool {
 public:
  void* take(std::size_t size) {
    const std::size_t wanted = rounded_up(size, kPage);
    const std::lock_guard lock(mutex_);
    if (const auto found = free_.lower_bound(wanted); found != free_.end() && found->first <= wanted + wanted / 4) {
      void* const block = found->second;
      note_use(block, found->first);
      free_.erase(found);
      return block;
    }
    const std::size_t limit = std::max(peak_in_use_, in_use_ + wanted) / 2 * 3;
    release_until(limit > wanted ? limit - wanted : 0);
    void* block = map_block(wanted);
    if (block == nullptr) {
      release_until(0);
      block = map_block(wanted);
    }
    if (block != nullptr) {
      held_ += wanted;
      note_use(block, wanted);
    }
    return block;
  }

  // Returns false where the block is not from here.
  bool release(void* block) {
    const std::lock_guard lock(mutex_);
    const auto found = used_.find(block);
    if (found == used_.end()) {
      return false;
    }
    in_use_ -= found->second;
    free_.emplace(found->second, block);
    used_.erase(found);
    return true;
  }

 private:
  void note_use(void* block, std::size_t size) {
    used_.emplace(block, size);
    in_use_ += size;
    peak_in_use_ = std::max(peak_in_use_, in_use_);
  }

  // Returns free blocks to the kernel, the largest first, until at most so many bytes are held.
  void release_until(std::size_t bytes) {
    while (held_ > bytes && !free_.empty()) {
      const auto largest = std::prev(free_.end());
      ::munmap(largest->second, largest->first);
      held_ -= largest->first;
      free_.erase(largest);
    }
  }

  std::mutex mutex_;
  std::unordered_map<void*, std::size_t> used_;  // size of each block in use
  std::multimap<std::size_t, void*> free_;
  std::size_t in_use_ = 0, peak_in_use_ = 0;  // bytes
  std::size_t held_ = 0;                      // from the kernel, in use or free
};

// Never destroyed: tensors may be freed while the process ends.
BlockPool& pool() {
  static auto* const only = new BlockPool;
  return *only;
}

void free_memory(void* memory) {
  if (memory != nullptr && !pool().release(memory)) {
    c10::GetDefaultCPUAllocator()->raw_deallocate(memory);
  }
}

class ReusingAllocator final : public c10::Allocator {
 public:
  c10::DataPtr allocate(std::size_t size) override {
    void* memory = size >= kSmallestBlock ? pool().take(size) : nullptr;
    if (memory == nullptr) {
      memory = c10::GetDefaultCPUAllocator()->raw_allocate(size);
    }
    return {memory, memory, &free_memory, c10::Device(c10::DeviceType::CPU)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &free_memory; }
  void copy_data(void* to, const void* from, std::size_t size) const override { std::memcpy(to, from, size); }
};

}  // namespace

void reuse_tensor_memory() {
  static ReusingAllocator allocator;
  c10::SetCPUAllocator(&allocator, /*priority=*/1);
}

}  // namespace maskedkd
