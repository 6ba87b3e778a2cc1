// What the scenarios of runtime_program.cpp share: CUDA's runtime in short, and the check of bytes.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <string>

using Scenarios = std::map<std::string, std::function<int()>>;

Scenarios mistakes();   // calls that CUDA refuses
Scenarios captures();   // and their rules
Scenarios schedules();  // copies that are ordered or not

constexpr int kWrongBytes = 3;
constexpr std::size_t kSize = 4096;

inline void require(cudaError_t code, const char* call) {
  if (code != cudaSuccess) {
    std::printf("%s: %d\n", call, static_cast<int>(code));
    std::exit(2);
  }
}
#define REQUIRE(call) require(call, #call)

inline void print(const char* what, cudaError_t code) {
  std::printf("%s: %d\n", what, static_cast<int>(code));
  std::fflush(stdout);
}

inline void kernel() {}
inline cudaError_t launch(cudaStream_t stream, dim3 grid = 1) {
  return cudaLaunchKernel(reinterpret_cast<const void*>(kernel), grid, dim3(32), nullptr, 0, stream);
}

inline char* on_device(std::size_t size = kSize) {
  void* pointer = nullptr;
  REQUIRE(cudaMalloc(&pointer, size));
  REQUIRE(cudaMemset(pointer, 0, size));
  REQUIRE(cudaDeviceSynchronize());  // the default stream is not ordered with those of stream()
  return static_cast<char*>(pointer);
}
inline char* pinned(char value, std::size_t size = kSize) {
  void* pointer = nullptr;
  REQUIRE(cudaHostAlloc(&pointer, size, 0));
  std::memset(pointer, value, size);
  return static_cast<char*>(pointer);
}
inline cudaStream_t stream() {
  cudaStream_t made = nullptr;
  REQUIRE(cudaStreamCreateWithFlags(&made, cudaStreamNonBlocking));
  return made;
}
inline cudaEvent_t event() {
  cudaEvent_t made = nullptr;
  REQUIRE(cudaEventCreateWithFlags(&made, cudaEventDisableTiming));
  return made;
}
inline void to_device(char* to, const char* from, cudaStream_t on) {
  REQUIRE(cudaMemcpyAsync(to, from, kSize, cudaMemcpyHostToDevice, on));
}
inline void to_host(char* to, const char* from, cudaStream_t on) {
  REQUIRE(cudaMemcpyAsync(to, from, kSize, cudaMemcpyDeviceToHost, on));
}
inline void follow(cudaStream_t after, cudaStream_t before) {
  const cudaEvent_t mark = event();
  REQUIRE(cudaEventRecord(mark, before));
  REQUIRE(cudaStreamWaitEvent(after, mark, 0));
}

// Whether all bytes are `value`; a copy of a part would be seen too.
inline int compare(const char* bytes, char value) {
  for (std::size_t i = 0; i < kSize; ++i) {
    if (bytes[i] != value) {
      std::printf("byte %zu is %d, not %d\n", i, bytes[i], value);
      return kWrongBytes;
    }
  }
  return 0;
}

inline cudaGraphExec_t ended(cudaStream_t on) {
  cudaGraph_t graph = nullptr;
  REQUIRE(cudaStreamEndCapture(on, &graph));
  cudaGraphExec_t executable = nullptr;
  REQUIRE(cudaGraphInstantiate(&executable, graph, 0));
  REQUIRE(cudaGraphUpload(executable, on));
  return executable;
}
inline void print_end(cudaStream_t on) {
  cudaGraph_t graph = nullptr;
  print("end", cudaStreamEndCapture(on, &graph));
}
inline void begin(cudaStream_t on, cudaStreamCaptureMode mode = cudaStreamCaptureModeGlobal) {
  REQUIRE(cudaStreamBeginCapture(on, mode));
}
