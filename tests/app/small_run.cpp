#include "app/small_run.hpp"

#include "maskedkd/base/philox.hpp"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <sstream>

namespace maskedkd::testing {
namespace {

namespace fs = std::filesystem;

void write_idx(const fs::path& path, const std::vector<int>& sizes, const std::string& bytes) {
  std::ofstream file(path, std::ios::binary);
  const auto big_endian = [&](int value) {
    for (int shift = 24; shift >= 0; shift -= 8) {
      file.put(static_cast<char>(value >> shift));
    }
  };
  big_endian(0x0800 + static_cast<int>(sizes.size()));
  for (const int size : sizes) {
    big_endian(size);
  }
  file << bytes;
}

Arguments common_arguments(const fs::path& data, const fs::path& output) {
  return {"--data-path",
          data,
          "--output-dir",
          output,
          "--model",
          "vit",
          "--input-size",
          "16",
          "--patch-size",
          "4",
          "--batch-size",
          "32",
          "--micro-batch",
          "8",
          "--repeats",
          "1",
          "--lr",
          "8e-3",
          "--lr-per-step",
          "--warmup-epochs",
          "1",
          "--precision",
          "fp32",
          "--threads",
          "1",
          "--workers",
          "1",
          "--device",
          "cpu",
          "--checkpoint-minutes",
          "0"};
}

Arguments join(Arguments first, const Arguments& second) {
  first.insert(first.end(), second.begin(), second.end());
  return first;
}

// `first` without the flags that are also in `second`, then `second`.
Arguments override_with(const Arguments& first, const Arguments& second) {
  Arguments all;
  bool dropping = false;
  for (const std::string& argument : first) {
    if (argument.rfind("--", 0) == 0) {
      dropping = std::find(second.begin(), second.end(), argument) != second.end();
    }
    if (!dropping) {
      all.push_back(argument);
    }
  }
  return join(all, second);
}

}  // namespace

void pack_images(const fs::path& directory, int num_images, int num_classes, const std::string& class_names) {
  std::string pixels, labels;
  PhiloxStream random({.seed = 7, .purpose = RandomPurpose::augmentation});
  for (int i = 0; i < num_images; ++i) {
    const int label = i % num_classes;
    labels.push_back(static_cast<char>(label));
    for (int pixel = 0; pixel < 256; ++pixel) {  // noise with a bright band, whose position is the class
      const bool band = pixel / 16 / 4 == label % 4;
      pixels.push_back(static_cast<char>((band ? 150 : 20) + static_cast<int>(random.below(80))));
    }
  }
  fs::create_directories(directory.parent_path());
  const fs::path images = directory.string() + ".images", label_file = directory.string() + ".labels";
  write_idx(images, {num_images, 16, 16}, pixels);
  write_idx(label_file, {num_images}, labels);
  Arguments arguments = {std::string(MASKEDKD_BIN_DIR) + "/maskedkd_pack",
                         "--source",
                         "idx",
                         "--images",
                         images,
                         "--labels",
                         label_file,
                         "--output-dir",
                         directory,
                         "--records-per-shard",
                         "100"};
  if (!class_names.empty()) {
    arguments.insert(arguments.end(), {"--class-names", class_names});
  }
  const ProcessResult packed = run_process(arguments);
  ASSERT_EQ(packed.exit_code, 0) << packed.output;
}

Arguments on_ranks(int ranks, const std::string& program, const Arguments& arguments) {
  return join({MASKEDKD_MPIEXEC, "-n", std::to_string(ranks), std::string(MASKEDKD_BIN_DIR) + "/" + program},
              arguments);
}

Arguments student_arguments(const fs::path& data, const fs::path& teacher, const fs::path& output,
                            const Arguments& more) {
  return override_with(join(common_arguments(data, output),
                            {"--width", "24", "--depth", "3", "--heads", "2", "--teacher-path", teacher, "--epochs",
                             "6", "--erasing", "0.5", "--drop-path", "0.2", "--crop-min-area", "0.5"}),
                       more);
}

Arguments teacher_arguments(const fs::path& data, const fs::path& output, const Arguments& more) {
  return override_with(join(common_arguments(data, output), {"--width", "32", "--depth", "2", "--heads", "4",
                                                             "--epochs", "1", "--distillation-type", "none"}),
                       more);
}

std::string file_bytes(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file) << path;
  return {std::istreambuf_iterator<char>(file), {}};
}

void flip_a_bit(const fs::path& path) {
  std::string bytes = file_bytes(path);
  bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 4);
  std::ofstream(path, std::ios::binary) << bytes;
}

std::string log_without_times(const fs::path& run) {
  std::istringstream lines(file_bytes(run / "log.txt"));
  std::string kept;
  for (std::string line; std::getline(lines, line);) {
    nlohmann::json entry = nlohmann::json::parse(line);
    entry.erase("images_per_second");
    entry.erase("waiting_share");
    kept += entry.dump() + "\n";
  }
  return kept;
}

void expect_same_run(const fs::path& expected, const fs::path& found, int step) {
  EXPECT_EQ(log_without_times(expected), log_without_times(found));
  char name[32];
  std::snprintf(name, sizeof name, "step-%09d", step);
  const std::string evaluated = std::string(name) + "-evaluated";
  const std::string last = fs::exists(expected / "checkpoints" / evaluated) ? evaluated : name;
  int compared = 0;
  for (const auto& entry : fs::directory_iterator(expected / "checkpoints" / last)) {
    if (entry.path().extension() == ".safetensors") {
      EXPECT_TRUE(file_bytes(entry.path()) == file_bytes(found / "checkpoints" / last / entry.path().filename()))
          << "another " << entry.path().filename();
      ++compared;
    }
  }
  EXPECT_GE(compared, 2);
}

}  // namespace maskedkd::testing
