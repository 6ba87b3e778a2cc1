// The programs that are run with faults of the file system.
#pragma once

#include "app/small_run.hpp"

#include <filesystem>
#include <string>

namespace maskedkd::testing {

// maskedkd_pack on images of pack_images(source, ...), eight images a shard.
inline Arguments packing_of(const std::filesystem::path& source, const std::filesystem::path& out) {
  const std::string name = source;
  return {std::string(MASKEDKD_BIN_DIR) + "/maskedkd_pack",
          "--source",
          "idx",
          "--images",
          name + ".images",
          "--labels",
          name + ".labels",
          "--output-dir",
          out,
          "--records-per-shard",
          "8",
          "--threads",
          "1"};
}

constexpr int kTrainedSteps = 4;

// maskedkd_train on a set of 64 images: two epochs of two steps, each step saved.
inline Arguments training_of(const std::filesystem::path& data, const std::filesystem::path& run,
                             const Arguments& more = {}) {
  Arguments all = teacher_arguments(data, run,
                                    {"--eval-data-path", data, "--epochs", "2", "--checkpoint-steps", "1",
                                     "--keep-checkpoints", "1", "--width", "8", "--depth", "1", "--heads", "2"});
  all.insert(all.begin(), std::string(MASKEDKD_BIN_DIR) + "/maskedkd_train");
  all.insert(all.end(), more.begin(), more.end());
  return all;
}

}  // namespace maskedkd::testing
