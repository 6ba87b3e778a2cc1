// One training step as in the trainer (micro-batch from bytes, mixing, student, masked teacher, loss, backward, AdamW),
// for step_bench.py, which compares it with eager PyTorch. A line "N" on standard input runs N steps and prints the
// seconds of wall time and of processor time, the loss, the pages touched for the first time, and the largest resident
// memory so far in MB.
//   step_bench WEIGHTS_FOLDER fp32|bf16 BATCH KEEP THREADS cpu|cuda [TRACE]
// TRACE: after warming up, records one step with LibTorch's profiler in this file (Chrome's trace format), and ends.
#include "maskedkd/base/error.hpp"
#include "maskedkd/data/tensor_memory.hpp"
#include "maskedkd/io/safetensors.hpp"
#include "maskedkd/model/registry.hpp"
#include "maskedkd/train/device_setup.hpp"
#include "maskedkd/train/distillation_step.hpp"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/scalar_tensor.h>
#include <sys/resource.h>
#include <torch/csrc/autograd/profiler_kineto.h>

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

// Calls `step`, and writes what it did on the host and on the device.
void record(const std::function<void()>& step, const std::string& file) {
  namespace profiler = torch::autograd::profiler;
  using torch::profiler::impl::ActivityType;
  const profiler::ProfilerConfig config(profiler::ProfilerState::KINETO);
  const std::set<ActivityType> activities = {ActivityType::CPU, ActivityType::CUDA};
  profiler::prepareProfiler(config, activities);
  profiler::enableProfiler(config, activities);
  step();
  profiler::disableProfiler()->save(file);
}

void serve(const std::filesystem::path& weights, const std::string& precision, std::int64_t batch_size,
           std::int64_t keep, at::Device device, const std::string& trace) {
  set_up_device(device);
  TrainOptions options;
  options.student = find_model("deit_tiny_patch16_224");
  options.mask.keep = KeepCount::patches(keep);
  options.precision = parse_precision(precision);
  Vit student(options.student);
  student.load(read_safetensors(weights / "student.safetensors").tensors, "student");
  student.to_device(device);
  const Teacher teacher(find_model("deit3_small"), weights / "teacher.safetensors", device,
                        scalar_type(options.precision));
  const FlatParameters parameters(student);
  AdamW optimizer(parameters, options.adamw);
  DistillationStep step(options, parameters, &teacher);
  const at::Tensor finite = at::scalar_tensor(true, at::TensorOptions().dtype(at::kBool).device(device));
  const DecisionOptions decisions = step.decisions();
  MicroBatch batch = random_batch(batch_size, options.student.input_size, decisions);
  const at::Tensor bytes = device.is_cuda() ? batch.staged.bytes.pin_memory() : batch.staged.bytes;  // as the loader's
  batch.staged = StagedBatch(batch.staged.layout, bytes);

  const auto train_once = [&] {
    ++batch.request.step;
    draw_decisions(batch.request, decisions, /*seed=*/0, options.student.input_size, batch.staged.views);
    step.read_weights();
    const auto [loss, gradient] = step.run({batch, batch.staged.bytes.to(step.input_device(), /*non_blocking=*/true)});
    optimizer.step(gradient, 1e-4, finite);
    return loss.item<double>();
  };
  if (!trace.empty()) {
    for (int i = 0; i < 3; ++i) {
      train_once();
    }
    record(train_once, trace);
    return;
  }
  int count = 0;
  while (std::cin >> count) {
    const auto begin = std::chrono::steady_clock::now();
    const std::clock_t processor_begin = std::clock();
    const long faults_begin = resource_usage().ru_minflt;
    double loss = 0;
    for (int i = 0; i < count; ++i) {
      loss = train_once();
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
  if (argc != 7 && argc != 8) {
    std::fprintf(stderr, "usage: step_bench WEIGHTS_FOLDER fp32|bf16 BATCH KEEP THREADS cpu|cuda [TRACE]\n");
    return 2;
  }
  maskedkd::reuse_tensor_memory();  // as maskedkd_train does
  try {
    at::set_num_threads(std::stoi(argv[5]));
    serve(argv[1], argv[2], std::stoll(argv[3]), std::stoll(argv[4]), at::Device(argv[6]), argc == 8 ? argv[7] : "");
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  return 0;
}
