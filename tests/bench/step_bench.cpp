// One training step as in the trainer (micro-batch from bytes, mixing, student, masked teacher, loss, backward, AdamW),
// for step_bench.py, which compares it with eager PyTorch. A line "N" on standard input runs N steps and prints the
// seconds of wall time and of processor time, the loss, the pages touched for the first time, and the largest resident
// memory so far in MB.
//   step_bench WEIGHTS_FOLDER fp32|bf16 BATCH KEEP THREADS
#include "maskedkd/base/error.hpp"
#include "maskedkd/data/tensor_memory.hpp"
#include "maskedkd/io/safetensors.hpp"
#include "maskedkd/model/registry.hpp"
#include "maskedkd/train/distillation_step.hpp"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/scalar_tensor.h>
#include <sys/resource.h>

#include <chrono>
#include <cstdio>
#include <ctime>
#include <exception>
#include <filesystem>
#include <iostream>
#include <numeric>

namespace {

using namespace maskedkd;

MicroBatch random_batch(std::int64_t size, int pixels, const DecisionOptions& decisions) {
  MicroBatch batch;
  batch.request.indices.resize(static_cast<std::size_t>(size));
  std::iota(batch.request.indices.begin(), batch.request.indices.end(), 0);
  StagedContents contents = training_contents(batch.request, decisions, /*seed=*/0);
  contents.size = pixels;
  const StagedLayout layout(contents);
  batch.staged = {layout, at::empty({layout.num_bytes}, at::kByte)};
  batch.staged.views.pixels.copy_(at::randint(256, {size, pixels, pixels, 3}, at::kByte));
  batch.staged.views.labels.copy_(at::randint(1000, {size}, at::kLong));
  return batch;
}

rusage resource_usage() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage;
}

void serve(const std::filesystem::path& weights, const std::string& precision, std::int64_t batch_size,
           std::int64_t keep) {
  TrainOptions options;
  options.student = find_model("deit_tiny_patch16_224");
  options.mask.keep = KeepCount::patches(keep);
  options.precision = parse_precision(precision);
  Vit student(options.student);
  student.load(read_safetensors(weights / "student.safetensors").tensors, "student");
  const Teacher teacher(find_model("deit3_small"), weights / "teacher.safetensors", at::kCPU,
                        scalar_type(options.precision));
  const FlatParameters parameters(student);
  AdamW optimizer(parameters, options.adamw);
  DistillationStep step(options, parameters, &teacher);
  const at::Tensor finite = at::scalar_tensor(true, at::kBool);
  const DecisionOptions decisions = step.decisions();
  MicroBatch batch = random_batch(batch_size, options.student.input_size, decisions);

  int count = 0;
  while (std::cin >> count) {
    const auto begin = std::chrono::steady_clock::now();
    const std::clock_t processor_begin = std::clock();
    const long faults_begin = resource_usage().ru_minflt;
    double loss = 0;
    for (int i = 0; i < count; ++i) {
      ++batch.request.step;
      draw_decisions(batch.request, decisions, /*seed=*/0, options.student.input_size, batch.staged.views);
      step.read_weights();
      const auto [found, gradient] = step.run({batch, batch.staged.bytes});
      loss = found.item<double>();
      optimizer.step(gradient, 1e-4, finite);
    }
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
    const double processor = static_cast<double>(std::clock() - processor_begin) / CLOCKS_PER_SEC;
    const rusage usage = resource_usage();
    std::printf("%.6f %.6f %.6f %ld %ld\n", seconds.count(), processor, loss, usage.ru_minflt - faults_begin,
                usage.ru_maxrss / 1024);
    std::fflush(stdout);
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 6) {
    std::fprintf(stderr, "usage: step_bench WEIGHTS_FOLDER fp32|bf16 BATCH KEEP THREADS\n");
    return 2;
  }
  maskedkd::reuse_tensor_memory();  // as maskedkd_train does
  try {
    at::set_num_threads(std::stoi(argv[5]));
    serve(argv[1], argv[2], std::stoll(argv[3]), std::stoll(argv[4]));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  return 0;
}
