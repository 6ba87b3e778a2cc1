// Compares with what the kernel reports (getrusage, /proc/self/statm): reused memory adds no page faults and no
// resident memory. Each test runs in its own process, as the allocator can't be removed.
#include "maskedkd/data/tensor_memory.hpp"

#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <fstream>
#include <random>
#include <thread>
#include <vector>

namespace maskedkd {
namespace {

constexpr std::int64_t kMegabyte = 1 << 20;

at::Tensor filled(std::int64_t bytes, int value = 1) { return at::full({bytes}, value, at::kByte); }

long page_faults() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_minflt;
}

std::int64_t resident_bytes() {
  std::ifstream statm("/proc/self/statm");
  std::int64_t total = 0, resident = 0;
  statm >> total >> resident;
  return resident * ::sysconf(_SC_PAGESIZE);
}

// Like a step: tensors of many sizes, alive at the same time, freed in the order of a backward pass.
void step_of(const std::vector<std::int64_t>& sizes_mb) {
  std::vector<at::Tensor> tensors;
  for (const std::int64_t size : sizes_mb) {
    tensors.push_back(filled(size * kMegabyte));
  }
  while (!tensors.empty()) {
    tensors.pop_back();
  }
}

TEST(TensorMemory, AStepLikeThePreviousOneCausesNoPageFaults) {
  reuse_tensor_memory();
  const std::vector<std::int64_t> sizes = {10, 17, 24, 31, 38, 10, 10, 3};
  step_of(sizes);
  const long before = page_faults();
  for (int step = 0; step < 10; ++step) {
    step_of(sizes);
  }
  EXPECT_LT(page_faults() - before, 100);  // 350,000 pages are written
}

TEST(TensorMemory, KeptMemoryIsBoundedByTheLargestUse) {
  reuse_tensor_memory();
  const std::int64_t at_first = resident_bytes();
  std::mt19937 random(3);
  for (int step = 0; step < 40; ++step) {  // sizes rarely repeat, 200 MB in use
    const std::int64_t part = 3 + static_cast<std::int64_t>(random() % 37);
    step_of(std::vector<std::int64_t>(static_cast<std::size_t>(200 / part), part));
  }
  EXPECT_LT(resident_bytes() - at_first, 1.6 * 200 * kMegabyte);
}

TEST(TensorMemory, TensorsOfSeveralThreadsKeepTheirValues) {
  reuse_tensor_memory();
  std::vector<std::thread> threads;
  std::vector<int> wrong(4, 0);
  for (std::size_t thread = 0; thread < wrong.size(); ++thread) {
    threads.emplace_back([&wrong, thread] {
      std::mt19937 random(static_cast<unsigned>(thread));
      std::vector<std::pair<at::Tensor, std::uint8_t>> alive;
      for (int i = 0; i < 300; ++i) {
        const auto value = static_cast<std::uint8_t>(random() % 251);
        alive.emplace_back(filled(static_cast<std::int64_t>(random() % (3 * kMegabyte)) + 1, value), value);
        if (alive.size() > 6) {
          const auto& [tensor, expected] = alive[random() % alive.size()];
          const std::uint8_t* bytes = tensor.const_data_ptr<std::uint8_t>();
          wrong[thread] += static_cast<int>(
              std::any_of(bytes, bytes + tensor.numel(), [&, e = expected](std::uint8_t byte) { return byte != e; }));
          alive.erase(alive.begin() + static_cast<std::ptrdiff_t>(random() % alive.size()));
        }
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  EXPECT_EQ(wrong, std::vector<int>(4, 0));
}

TEST(TensorMemory, LibTorchReportsThatMemoryRanOut) {
  reuse_tensor_memory();
  try {
    at::empty({std::int64_t{1} << 46}, at::kByte);  // 64 TiB
    FAIL() << "that much memory was granted";
  } catch (const std::exception& error) {
    EXPECT_NE(std::string(error.what()).find("memory"), std::string::npos) << error.what();
  }
  EXPECT_EQ(filled(2 * kMegabyte).numel(), 2 * kMegabyte);  // later allocations work
}

}  // namespace
}  // namespace maskedkd
