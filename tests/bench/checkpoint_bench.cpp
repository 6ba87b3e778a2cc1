// The costs of a checkpoint: the copy for which a step waits, writing beside dd with fsync of as many bytes into the
// same folder, reading it back verified, and a complete restart.
//   checkpoint_bench FOLDER [MODEL] [ROUNDS]     default: deit_base_patch16_224, 5
// One round: copy, then save and dd in random order, each after a sync and with the other's files removed, so that the
// disk is not still busy with the other; then load. Prints medians. FOLDER is created; the written files are removed.
#include "maskedkd/base/error.hpp"
#include "maskedkd/checkpoint/background_saver.hpp"
#include "maskedkd/model/registry.hpp"
#include "maskedkd/model/vit.hpp"
#include "maskedkd/train/adamw.hpp"
#include "maskedkd/train/flat_parameters.hpp"
#include "maskedkd/train/state_copy.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <random>

namespace {

using namespace maskedkd;
namespace fs = std::filesystem;

template <typename Work>
double seconds_of(const Work& work) {
  const auto began = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// Writes as many bytes by another program, synced as a checkpoint is.
void write_by_dd(const fs::path& file, std::uint64_t bytes) {
  const std::string command = fmt::format("dd if=/dev/zero of='{}' bs=8M count={} conv=fsync 2>/dev/null",
                                          file.string(), (bytes + (8 << 20) - 1) / (8 << 20));
  if (std::system(command.c_str()) != 0) {
    throw Error("dd failed");
  }
}

void run(const fs::path& folder, const std::string& model_name, int rounds) {
  Vit model(find_model(model_name));
  model.initialise(/*seed=*/0);
  const FlatParameters parameters(model);
  const AdamW optimizer(parameters, {});
  const WeightAverage average(parameters, 0.999);
  const Lease lease(folder, this_process("checkpoint_bench"));
  const fs::path root = folder / "checkpoints";
  StateCopy state_copy;
  std::mt19937 order(std::random_device{}());
  std::uint64_t bytes = 0;
  std::vector<double> copy_s, save_s, dd_s, load_s, ratios;
  for (int round = 0; round < rounds; ++round) {
    CheckpointContent content;
    content.step = round;
    content.state_json = "{}";
    copy_s.push_back(seconds_of([&] {
      content.groups = state_copy.copy({{"model", parameters.named_views(parameters.values())},
                                        {"optimizer", optimizer.state()},
                                        {"ema", parameters.named_views(average.values())}});
    }));
    bytes = 0;
    for (const auto& [group, tensors] : content.groups) {
      bytes += total_bytes(tensors);
    }
    fs::path path;
    const auto save = [&] {
      ::sync();
      save_s.push_back(seconds_of([&] { path = save_checkpoint(lease, root, content); }));
    };
    const auto dd = [&] {
      ::sync();
      dd_s.push_back(seconds_of([&] { write_by_dd(folder / "dd", bytes); }));
      fs::remove(folder / "dd");
    };
    if (order() % 2 == 0) {
      save();
      dd();
    } else {
      dd();
      save();
    }
    ratios.push_back(dd_s.back() / save_s.back());
    content.groups.clear();
    load_s.push_back(seconds_of([&] { load_checkpoint(path); }));
    fs::remove_all(root);
  }
  const double megabytes = static_cast<double>(bytes) / 1e6;
  fmt::print("{}: {:.0f} MB (weights, two moments, an average), median of {} rounds\n", model_name, megabytes, rounds);
  fmt::print("copy for which a step waits   {:8.3f} s   {:7.0f} MB/s   {:.3f} % of 5 minutes\n", median(copy_s),
             megabytes / median(copy_s), 100 * median(copy_s) / 300);
  fmt::print("saved: written, hashed, synced {:7.3f} s   {:7.0f} MB/s\n", median(save_s), megabytes / median(save_s));
  fmt::print("dd with fsync                 {:8.3f} s   {:7.0f} MB/s\n", median(dd_s), megabytes / median(dd_s));
  fmt::print("saving's rate over dd's, round by round: median {:.2f}, {:.2f} to {:.2f}\n", median(ratios),
             *std::min_element(ratios.begin(), ratios.end()), *std::max_element(ratios.begin(), ratios.end()));
  fmt::print("loaded and verified           {:8.3f} s   {:7.0f} MB/s\n", median(load_s), megabytes / median(load_s));
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2 || argv[1][0] == '-') {
    std::fprintf(stderr, "usage: checkpoint_bench FOLDER [MODEL] [ROUNDS]\n");
    return 2;
  }
  try {
    run(argv[1], argc > 2 ? argv[2] : "deit_base_patch16_224", argc > 3 ? std::max(1, std::atoi(argv[3])) : 5);
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
