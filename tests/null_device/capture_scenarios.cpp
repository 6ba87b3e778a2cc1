// Captures of streams and their rules.
#include "scenarios.hpp"

#include <thread>
#include <vector>

namespace {

// Copies over two streams, executed at each replay and not before.
int replay() {
  const cudaStream_t first = stream(), second = stream();
  char *device = on_device(), *copy = on_device(), *source = pinned(1), *found = pinned(0);
  begin(first, cudaStreamCaptureModeThreadLocal);
  to_device(device, source, first);
  REQUIRE(launch(first));
  follow(second, first);
  REQUIRE(cudaMemcpyAsync(copy, device, kSize, cudaMemcpyDeviceToDevice, second));
  REQUIRE(launch(second));
  follow(first, second);
  to_host(found, copy, first);
  const cudaGraphExec_t executable = ended(first);
  REQUIRE(cudaStreamSynchronize(first));
  int wrong = compare(found, 0);
  for (char value = 2; value < 5; ++value) {
    std::memset(source, value, kSize);
    REQUIRE(cudaGraphLaunch(executable, first));
    REQUIRE(cudaStreamSynchronize(first));
    wrong |= compare(found, value);
  }
  return wrong;
}
int wait_in_capture() {
  const cudaStream_t on = stream();
  begin(on);
  print("synchronize", cudaStreamSynchronize(on));
  print("launch", launch(on));
  print_end(on);
  return 0;
}
int allocation_in_capture() {
  const cudaStream_t on = stream();
  void* pointer = nullptr;
  for (const auto mode :
       {cudaStreamCaptureModeGlobal, cudaStreamCaptureModeThreadLocal, cudaStreamCaptureModeRelaxed}) {
    begin(on, mode);
    std::thread([&pointer] { print("another thread", cudaMalloc(&pointer, 1)); }).join();
    print_end(on);
    begin(on, mode);
    print("own thread", cudaMalloc(&pointer, 1));
    print_end(on);
  }
  begin(on);
  cudaStreamCaptureMode relaxed = cudaStreamCaptureModeRelaxed;
  REQUIRE(cudaThreadExchangeStreamCaptureMode(&relaxed));
  print("exchanged", cudaMalloc(&pointer, 1));
  print_end(on);
  return 0;
}
int pageable_in_capture() {
  const cudaStream_t on = stream();
  char* device = on_device();
  std::vector<char> host(kSize);
  begin(on);
  print("copy", cudaMemcpyAsync(device, host.data(), kSize, cudaMemcpyHostToDevice, on));
  print_end(on);
  return 0;
}
int unjoined() {
  const cudaStream_t first = stream(), second = stream();
  begin(first);
  REQUIRE(launch(first));
  follow(second, first);
  REQUIRE(launch(second));
  print_end(first);
  return 0;
}
int isolation() {
  const cudaStream_t first = stream(), second = stream();
  const cudaEvent_t before = event();
  REQUIRE(cudaEventRecord(before, second));
  begin(first);
  print("wait", cudaStreamWaitEvent(first, before, 0));
  print_end(first);
  return 0;
}
int captured_event() {
  const cudaStream_t on = stream();
  const cudaEvent_t mark = event();
  begin(on);
  REQUIRE(cudaEventRecord(mark, on));
  print("query", cudaEventQuery(mark));
  print_end(on);
  return 0;
}
int wrong_thread() {
  const cudaStream_t on = stream();
  begin(on);
  std::thread([on] { print_end(on); }).join();
  print_end(on);
  return 0;
}

}  // namespace

Scenarios captures() {
  return {
      {"replay", replay},
      {"wait_in_capture", wait_in_capture},
      {"allocation_in_capture", allocation_in_capture},
      {"pageable_in_capture", pageable_in_capture},
      {"unjoined", unjoined},
      {"isolation", isolation},
      {"captured_event", captured_event},
      {"wrong_thread", wrong_thread},
  };
}
