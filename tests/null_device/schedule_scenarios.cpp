// Copies between buffers that are used again: ordered by streams, events and waits, or not.
#include "scenarios.hpp"

#include <vector>

namespace {

// Two buffers in turn, filled by the host, copied to the device on one stream, from there to the host on another.
// `reuse`, `order` and `wait`: whether the program waits before it fills a buffer again, orders the two streams, and
// waits before it reads a result.
int pipeline(bool reuse, bool order, bool wait) {
  const cudaStream_t copies = stream(), compute = stream();
  char *source[2] = {pinned(0), pinned(0)}, *device[2] = {on_device(), on_device()};
  char* found[2] = {pinned(-1), pinned(-1)};
  cudaEvent_t sent[2] = {event(), event()}, used[2] = {event(), event()}, ready[2] = {event(), event()};
  int wrong = 0;
  for (char round = 1; round <= 16; ++round) {
    const int slot = round % 2;
    if (round > 2) {
      if (wait) {
        REQUIRE(cudaEventSynchronize(ready[slot]));
      }
      wrong |= compare(found[slot], static_cast<char>(round - 2));
      if (reuse) {
        REQUIRE(cudaEventSynchronize(sent[slot]));
      }
      if (order) {
        REQUIRE(cudaStreamWaitEvent(copies, used[slot], 0));
      }
    }
    std::memset(source[slot], round, kSize);
    to_device(device[slot], source[slot], copies);
    REQUIRE(cudaEventRecord(sent[slot], copies));
    if (order) {
      REQUIRE(cudaStreamWaitEvent(compute, sent[slot], 0));
    }
    REQUIRE(launch(compute));
    to_host(found[slot], device[slot], compute);
    REQUIRE(cudaEventRecord(used[slot], compute));
    REQUIRE(cudaEventRecord(ready[slot], compute));
  }
  return wrong;
}
// A wait for the result alone would hide that the source is filled too early: here nothing is read before the end.
int overwritten(bool waits) {
  const cudaStream_t on = stream();
  char *source = pinned(0), *device[4] = {on_device(), on_device(), on_device(), on_device()};
  for (char round = 0; round < 4; ++round) {
    std::memset(source, round + 1, kSize);
    to_device(device[static_cast<int>(round)], source, on);
    if (waits) {
      REQUIRE(cudaStreamSynchronize(on));
    }
  }
  int wrong = 0;
  std::vector<char> found(kSize);
  for (char round = 0; round < 4; ++round) {
    to_host(found.data(), device[static_cast<int>(round)], on);
    wrong |= compare(found.data(), static_cast<char>(round + 1));
  }
  return wrong;
}
// A buffer of the device that another stream fills while the first one may still read it. The streams run long enough
// to meet in any order.
int reused(bool ordered) {
  const cudaStream_t first = stream(), second = stream();
  char *buffer = on_device(), *kept[8], *source[8];
  for (int i = 0; i < 8; ++i) {
    kept[i] = on_device();
    source[i] = pinned(static_cast<char>(i + 1));
  }
  for (int i = 0; i < 8; ++i) {
    to_device(buffer, source[i], first);
    follow(second, first);
    REQUIRE(cudaMemcpyAsync(kept[i], buffer, kSize, cudaMemcpyDeviceToDevice, second));
    if (ordered) {
      follow(first, second);
    }
  }
  REQUIRE(cudaDeviceSynchronize());
  int wrong = 0;
  std::vector<char> found(kSize);
  for (int i = 0; i < 8; ++i) {
    to_host(found.data(), kept[i], second);
    wrong |= compare(found.data(), static_cast<char>(i + 1));
  }
  return wrong;
}
int replays(bool waits) {
  const cudaStream_t on = stream();
  char *source = pinned(0), *device = on_device(), *found = pinned(0);
  begin(on);
  to_device(device, source, on);
  to_host(found, device, on);
  const cudaGraphExec_t executable = ended(on);
  int wrong = 0;
  for (char round = 1; round <= 4; ++round) {
    std::memset(source, round, kSize);
    REQUIRE(cudaGraphLaunch(executable, on));
    if (waits) {
      REQUIRE(cudaStreamSynchronize(on));
    }
    wrong |= compare(found, round);
  }
  return wrong;
}
int pageable() {  // is staged at the call
  const cudaStream_t on = stream();
  char *device = on_device(), *found = pinned(0);
  std::vector<char> source(kSize, 1);
  to_device(device, source.data(), on);
  std::memset(source.data(), 2, kSize);
  to_host(found, device, on);
  REQUIRE(cudaStreamSynchronize(on));
  return compare(found, 1);
}
int host_function() {
  const cudaStream_t on = stream();
  char *device = on_device(), *source = pinned(1), *found = pinned(0);
  const auto fill = [](void* bytes) { std::memset(bytes, 7, kSize); };
  REQUIRE(cudaLaunchHostFunc(on, fill, source));
  to_device(device, source, on);
  to_host(found, device, on);
  REQUIRE(cudaStreamSynchronize(on));
  return compare(found, 7);
}

}  // namespace

Scenarios schedules() {
  return {
      {"pipeline", [] { return pipeline(true, true, true); }},
      {"pipeline_without_order", [] { return pipeline(true, false, true); }},
      {"pipeline_without_wait", [] { return pipeline(true, true, false); }},
      {"overwritten", [] { return overwritten(false); }},
      {"overwritten_after_waits", [] { return overwritten(true); }},
      {"reused", [] { return reused(false); }},
      {"reused_after_events", [] { return reused(true); }},
      {"replays", [] { return replays(false); }},
      {"replays_with_waits", [] { return replays(true); }},
      {"pageable", pageable},
      {"host_function", host_function},
  };
}
