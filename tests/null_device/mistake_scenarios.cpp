// Calls that CUDA refuses, or that need a limit.
#include "scenarios.hpp"

#include <vector>

namespace {

int wrong_device() {
  REQUIRE(cudaSetDevice(1));
  const cudaStream_t other = stream();
  REQUIRE(cudaSetDevice(0));
  print("launch", launch(other));
  return 0;
}
int bad_grid() {
  print("launch", launch(nullptr, dim3(0)));
  print("last error", cudaGetLastError());
  print("last error again", cudaGetLastError());
  return 0;
}
int out_of_bounds() {
  char* device = on_device();
  std::vector<char> host(kSize);
  print("copy", cudaMemcpy(host.data(), device + 1, kSize, cudaMemcpyDeviceToHost));
  print("memset", cudaMemset(device + 1, 0, kSize));
  return 0;
}
int double_free() {
  char* device = on_device();
  print("free", cudaFree(device));
  print("free again", cudaFree(device));
  return 0;
}
int host_access() { return *static_cast<volatile char*>(on_device()); }
int out_of_memory() {
  void* pointer = nullptr;
  print("too much", cudaMalloc(&pointer, std::size_t{2} << 30));
  print("half", cudaMalloc(&pointer, std::size_t{1} << 29));
  std::size_t available = 0, total = 0;
  REQUIRE(cudaMemGetInfo(&available, &total));
  std::printf("free: %zu MiB of %zu MiB\n", available >> 20, total >> 20);
  return 0;
}
int not_implemented() {
  cudaArray_t array = nullptr;
  print("cudaMallocArray", cudaMallocArray(&array, nullptr, 1));
  return 0;
}
int devices() {
  int number = 0;
  print("count", cudaGetDeviceCount(&number));
  for (int i = 0; i < number; ++i) {
    cudaDeviceProp properties;
    REQUIRE(cudaGetDeviceProperties(&properties, i));
    std::printf("%d: %s %d\n", i, properties.name, properties.pciBusID - 0x10);
  }
  return 0;
}

}  // namespace

Scenarios mistakes() {
  return {
      {"wrong_device", wrong_device},       {"bad_grid", bad_grid},       {"out_of_bounds", out_of_bounds},
      {"double_free", double_free},         {"host_access", host_access}, {"out_of_memory", out_of_memory},
      {"not_implemented", not_implemented}, {"devices", devices},
  };
}
