// Throughput of the loader on a packed set, for loader_bench.py:
//
//   loader_bench DIR --case recipe|repeats|crop|evaluation [--workers 2] [--batches 20] [--batch 128] [--prefetch 6]
//                [--micro-batches 1] [--locality] [--normalise] [--raw-crops] [--warm-up 6]
//
// Prints JSON: images a second and processor time an image after the first --warm-up batches, seconds to the first
// batch from the start of the process's main, records decoded, memory.
#include "maskedkd/base/error.hpp"
#include "maskedkd/cli/options.hpp"
#include "maskedkd/cli/run_main.hpp"
#include "maskedkd/data/batch.hpp"
#include "maskedkd/data/loader.hpp"
#include "maskedkd/data/sampler.hpp"
#include "maskedkd/data/tensor_memory.hpp"

#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <chrono>
#include <cstdio>
#include <ctime>
#include <fstream>

namespace maskedkd {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point time) { return std::chrono::duration<double>(Clock::now() - time).count(); }

// Of all threads of the process.
double processor_seconds() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

// Resident memory, bytes: now ("VmRSS") or at most ("VmHWM").
double memory(const std::string& what) {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;) {
    if (word == what + ":") {
      double kilobytes = 0;
      status >> kilobytes;
      return kilobytes * 1024;
    }
  }
  return 0;
}

int run(int argc, char** argv) {
  const Clock::time_point began = Clock::now();
  std::filesystem::path data;
  std::string name = "recipe";
  int batches = 20, warm_up = 6, batch = 128, micro_batches = 1;
  bool locality = false, normalise = false;
  LoaderOptions options;
  options.prefetch = 6;
  CommandLine line("loader_bench", "Measures the loader.", "loader_bench DIR --case recipe");
  line.group("Measurement")
      .positional("DIR", data, "packed set")
      .option("case", name, "recipe, repeats, crop (nothing but crop and resize), evaluation")
      .option("workers", options.num_workers, "threads")
      .option("prefetch", options.prefetch, "micro-batches")
      .option("open-together", options.open_together, "micro-batches")
      .option("batches", batches, "micro-batches that are timed")
      .option("warm-up", warm_up, "micro-batches before them")
      .option("batch", batch, "images of a micro-batch")
      .option("micro-batches", micro_batches, "of a step")
      .option("locality", locality, "repeats in one micro-batch")
      .option("raw-crops", options.raw_crops, "what workers do with --augment-on gpu: crops, not augmented")
      .option("normalise", normalise, "and the normalised float32 tensor, as torch's DataLoader gives it");
  if (!line.parse(argc, argv)) {
    std::fputs(line.help().c_str(), stdout);
    return 0;
  }
  at::set_num_threads(1);
  const ShardSet set(data);
  options.training = name != "evaluation";
  if (name == "crop") {
    options.augment.flip_probability = 0;
    options.augment.erasing_probability = 0;
    options.augment.policy.enabled = false;
  }
  SamplerOptions sampler;
  sampler.num_records = set.num_records();
  sampler.micro_batch = batch;
  sampler.micro_batches_per_step = micro_batches;
  sampler.repeats = name == "repeats" ? 3 : 1;
  sampler.repeat_locality = locality;
  // Several epochs, as the set may be smaller than the number of timed images.
  const std::int64_t per_epoch = sampler.steps_per_epoch() * micro_batches;
  std::optional<EpochOrder> order;
  const std::int64_t total = batches + warm_up;
  Loader loader(set, options, [&, next = std::int64_t{0}]() mutable -> std::optional<BatchRequest> {
    if (next == total) {
      return std::nullopt;
    }
    const std::int64_t epoch = next / per_epoch, in_epoch = next % per_epoch;
    if (in_epoch == 0) {
      order.emplace(sampler, static_cast<std::uint32_t>(epoch));
    }
    ++next;
    const std::int64_t step = in_epoch / micro_batches;
    const auto micro_batch = static_cast<int>(in_epoch % micro_batches);
    return BatchRequest{static_cast<std::uint32_t>(epoch), static_cast<std::uint32_t>(step),
                        static_cast<std::uint32_t>(micro_batch), order->micro_batch(step, micro_batch)};
  });
  double first_batch_s = 0, resident_after_tenth = 0;
  Clock::time_point timed;
  double processor_before_s = 0;
  std::int64_t num_images = 0, num_batches = 0;
  while (const auto loaded = loader.next()) {
    if (normalise) {
      normalised_images(loaded->staged.views.pixels, at::kCPU);
    }
    if (++num_batches == 1) {
      first_batch_s = seconds_since(began);
    }
    if (num_batches == warm_up) {
      timed = Clock::now();
      processor_before_s = processor_seconds();
    } else if (num_batches > warm_up) {
      num_images += loaded->staged.views.labels.size(0);
    }
    if (num_batches == total / 10 + 1) {
      resident_after_tenth = memory("VmRSS");
    }
  }
  const double seconds = seconds_since(timed), processor_s = processor_seconds() - processor_before_s;
  const nlohmann::ordered_json json = {{"images_per_second", static_cast<double>(num_images) / seconds},
                                       {"processor_us_per_image", processor_s / static_cast<double>(num_images) * 1e6},
                                       {"first_batch_s", first_batch_s},
                                       {"records_decoded", loader.counts().records_decoded},
                                       {"images_made", loader.counts().images_made},
                                       {"resident_after_tenth_mb", resident_after_tenth / 1e6},
                                       {"resident_mb", memory("VmRSS") / 1e6},
                                       {"most_resident_mb", memory("VmHWM") / 1e6}};
  fmt::print("{}\n", json.dump());
  return 0;
}

}  // namespace
}  // namespace maskedkd

int main(int argc, char** argv) {
  maskedkd::reuse_tensor_memory();  // as the program does
  return maskedkd::run_main(argc, argv, std::function<int(int, char**)>(maskedkd::run));
}
