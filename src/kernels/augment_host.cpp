#include "augment_host.hpp"

#include "augment_kernel.hpp"

#include <atomic>
#include <barrier>
#include <thread>
#include <vector>

namespace maskedkd::kernel {
namespace {

struct HostLanes {
  int index, count;
  std::barrier<>* barrier;

  void wait() const { barrier->arrive_and_wait(); }
  template <typename T>
  void add(T* counter, T amount) const {
    std::atomic_ref(*counter).fetch_add(amount, std::memory_order_relaxed);
  }
};

void run_lane(const AugmentBatch& batch, const HostLanes& lanes, Shared& shared) {
  for (int image = 0; image < batch.num_images; ++image) {
    augment(lanes, batch, image, shared);
  }
}

}  // namespace

void augment_on_host(const AugmentBatch& batch, int num_lanes) {
  std::barrier<> barrier(num_lanes);
  Shared shared{};
  std::vector<std::jthread> others;
  for (int index = 1; index < num_lanes; ++index) {
    others.emplace_back([&, index] { run_lane(batch, {index, num_lanes, &barrier}, shared); });
  }
  run_lane(batch, {0, num_lanes, &barrier}, shared);
}

}  // namespace maskedkd::kernel
