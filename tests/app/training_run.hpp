// Shared by tests of whole trainings: packed images and a teacher, made once, and runs below one folder.
#pragma once

#include "app/small_run.hpp"
#include "support/temporary_directory.hpp"

#include <gtest/gtest.h>

#include <algorithm>

namespace maskedkd::testing {

class TrainingRun : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    place = new TemporaryDirectory;
    pack_images(data(), 256);
    const ProcessResult trained =
        run_process(on_ranks(1, "maskedkd_train", teacher_arguments(data(), run_folder("teacher"))));
    ASSERT_EQ(trained.exit_code, 0) << trained.output;
  }
  static void TearDownTestSuite() { delete place; }

  static std::filesystem::path data() { return place->path() / "data"; }
  static std::filesystem::path teacher() { return place->path() / "teacher" / "checkpoints" / "step-000000008"; }
  static std::filesystem::path run_folder(const std::string& name) { return place->path() / name; }

  static ProcessResult train(int ranks, const std::string& name, const Arguments& more = {}) {
    return run_process(on_ranks(ranks, "maskedkd_train", student_arguments(data(), teacher(), run_folder(name), more)));
  }
  // One rank without a launcher, so that it receives signals directly, as from a cluster's step manager.
  static Arguments alone(const std::string& name, const Arguments& more = {}) {
    Arguments arguments = student_arguments(data(), teacher(), run_folder(name), more);
    arguments.insert(arguments.begin(), (std::filesystem::path(MASKEDKD_BIN_DIR) / "maskedkd_train").string());
    return arguments;
  }
  // An undisturbed run with the flags `more`, made once for each `kind`.
  static std::filesystem::path undisturbed(const std::string& kind, const Arguments& more = {}) {
    const std::string name = "undisturbed-" + kind;
    if (!std::filesystem::exists(run_folder(name))) {
      const ProcessResult result = train(1, name, more);
      EXPECT_EQ(result.exit_code, 0) << result.output;
    }
    return run_folder(name);
  }
  // The newest checkpoint of a run, or an empty path.
  static std::filesystem::path newest(const std::string& name) {
    std::filesystem::path last;
    std::error_code missing;
    for (const auto& entry : std::filesystem::directory_iterator(run_folder(name) / "checkpoints", missing)) {
      if (entry.path().filename().string().starts_with("step-")) {
        last = std::max(last, entry.path());
      }
    }
    return last;
  }

  inline static TemporaryDirectory* place = nullptr;
};

}  // namespace maskedkd::testing
