// Reads a weights file once, as a program that has just started does; read_weights_bench.py alternates it with a Python
// program that does the same.
//   read_weights_bench open|sum|model FILE MODEL
// open: opens every tensor; sum: and reads every byte; model: builds MODEL and loads the weights.
// Prints: seconds of wall time and of processor time, the largest resident memory of the process before and after in
// bytes, a checksum.
#include "maskedkd/base/error.hpp"
#include "maskedkd/io/safetensors.hpp"
#include "maskedkd/model/registry.hpp"
#include "maskedkd/model/vit.hpp"

#include <ATen/ops/ones.h>
#include <ATen/ops/sum.h>

#include <chrono>
#include <cstdio>
#include <ctime>
#include <exception>
#include <fstream>
#include <string>

namespace {

using namespace maskedkd;

std::uint64_t peak_resident_bytes() {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;) {
    if (word == "VmHWM:") {
      std::uint64_t kibibytes = 0;
      status >> kibibytes;
      return kibibytes * 1024;
    }
  }
  return 0;
}

double sum_of(const std::map<std::string, at::Tensor>& tensors) {
  double total = 0;
  for (const auto& [name, tensor] : tensors) {
    total += tensor.sum().item<double>();
  }
  return total;
}

double read(const std::string& how, const std::string& file, const std::string& model_name) {
  if (how == "model") {
    Vit model(find_model(model_name));
    model.load(read_safetensors(file).tensors, file);
    return static_cast<double>(model.num_parameters());
  }
  const SafetensorsFile weights = read_safetensors(file);
  return how == "sum" ? sum_of(weights.tensors) : static_cast<double>(weights.tensors.size());
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) {
    std::fprintf(stderr, "usage: read_weights_bench open|sum|model FILE MODEL\n");
    return 2;
  }
  try {
    sum_of({{"warm", at::ones({1 << 16})}});
    const std::uint64_t before = peak_resident_bytes();
    const auto begin = std::chrono::steady_clock::now();
    const std::clock_t processor_begin = std::clock();
    const double checksum = read(argv[1], argv[2], argv[3]);
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
    const double processor = static_cast<double>(std::clock() - processor_begin) / CLOCKS_PER_SEC;
    std::printf("%.6f %.6f %llu %llu %.9g\n", seconds.count(), processor, static_cast<unsigned long long>(before),
                static_cast<unsigned long long>(peak_resident_bytes()), checksum);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  return 0;
}
