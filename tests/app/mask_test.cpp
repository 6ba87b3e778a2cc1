// What the teacher sees, with the real programs: every criterion and schedule trains, also with teachers of other
// grids, and the number of ranks and restarts change no bit. (tests/distill and tests/train test which patches are
// selected.)
#include "app/small_run.hpp"
#include "support/temporary_directory.hpp"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <set>
#include <sstream>

namespace maskedkd::testing {
namespace {

namespace fs = std::filesystem;

class Mask : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    place = new TemporaryDirectory;
    pack_images(data(), 256);
    train_teacher("teacher", {});
    train_teacher("finer", {"--input-size", "24"});  // 6 x 6 patches of 4 pixels
  }
  static void TearDownTestSuite() { delete place; }

  static fs::path path(const std::string& name) { return place->path() / name; }
  static fs::path data() { return path("data"); }
  static void train_teacher(const std::string& name, const Arguments& more) {
    const ProcessResult trained =
        run_process(on_ranks(1, "maskedkd_train", teacher_arguments(data(), path(name), more)));
    ASSERT_EQ(trained.exit_code, 0) << trained.output;
  }
  static ProcessResult train(int ranks, const std::string& name, const std::string& teacher, const Arguments& more) {
    return run_process(on_ranks(ranks, "maskedkd_train", student_arguments(data(), path(teacher), path(name), more)));
  }
  // Returns the run's output; the run must succeed.
  static std::string train_to_the_end(int ranks, const std::string& name, const std::string& teacher,
                                      const Arguments& more) {
    const ProcessResult result = train(ranks, name, teacher, more);
    EXPECT_EQ(result.exit_code, 0) << result.output;
    return result.output;
  }
  // The values of one key in all lines of the log.
  static std::vector<double> logged(const std::string& run, const std::string& key) {
    std::istringstream lines(log_without_times(path(run)));
    std::vector<double> values;
    for (std::string line; std::getline(lines, line);) {
      values.push_back(nlohmann::json::parse(line).at(key).get<double>());
    }
    return values;
  }

  static TemporaryDirectory* place;
};
TemporaryDirectory* Mask::place = nullptr;

using Values = std::vector<double>;

TEST_F(Mask, EveryCriterionTrains) {
  std::set<double> losses;
  for (const std::string criterion : {"student", "random", "lowest", "teacher", "all"}) {
    const std::string run = "by-" + criterion;
    const std::string output = train_to_the_end(2, run, "teacher", {"--epochs", "2", "--mask-criterion", criterion});
    const double kept = criterion == "all" ? 16 : 8;
    EXPECT_EQ(logged(run, "kept_patches"), (Values{kept, kept}));
    losses.insert(logged(run, "train_loss").back());
    EXPECT_NE(
        output.find(criterion == "all" ? "sees 16 of 16 patches" : "sees 8 of 16 patches, criterion " + criterion),
        std::string::npos)
        << output;
  }
  EXPECT_EQ(losses.size(), 5U) << "two criteria gave the same run";
  train_to_the_end(2, "all-by-count", "teacher", {"--epochs", "2", "--keep", "16"});
  expect_same_run(path("by-all"), path("all-by-count"), 16);
  train_to_the_end(2, "default", "teacher", {"--epochs", "2"});
  expect_same_run(path("by-student"), path("default"), 16);
}

TEST_F(Mask, AScheduleKeepsFewerPatchesEachEpoch) {
  const std::string output =
      train_to_the_end(1, "linear", "teacher", {"--epochs", "4", "--keep-schedule", "linear", "--keep", "4"});
  EXPECT_EQ(logged("linear", "kept_patches"), (Values{16, 12, 8, 4}));
  EXPECT_NE(output.find("sees 16 to 4 of 16 patches (linear"), std::string::npos) << output;
}

TEST_F(Mask, ATeacherMayHaveAnotherGridAndInputSize) {
  const std::string output = train_to_the_end(2, "finer-student", "finer", {"--epochs", "2", "--keep", "0.25"});
  EXPECT_EQ(logged("finer-student", "kept_patches"), (Values{9, 9}));
  for (const char* part : {"sees 9 of 36 patches", "16 x 16 pixels are resized to its 24 x 24",
                           "4 x 4 patches is resampled to its 6 x 6"}) {
    EXPECT_NE(output.find(part), std::string::npos) << "no '" << part << "' in: " << output;
  }
  // more patches than the student has, and a student of 8 x 8 patches, more than the teacher has
  train_to_the_end(1, "many", "finer", {"--epochs", "1", "--keep", "20"});
  EXPECT_EQ(logged("many", "kept_patches"), (Values{20}));
  train_to_the_end(1, "finer-student-patches", "teacher", {"--epochs", "1", "--patch-size", "2"});
  EXPECT_EQ(logged("finer-student-patches", "kept_patches"), (Values{8}));
}

TEST_F(Mask, RandomPatchesAndAScheduleGiveTheSameBitsOnRanksAndAcrossAStop) {
  const Arguments kind = {"--epochs", "3", "--mask-criterion", "random", "--keep-schedule", "cosine", "--keep", "0.1"};
  train_to_the_end(1, "one-rank", "finer", kind);
  EXPECT_EQ(logged("one-rank", "kept_patches"), (Values{36, 20, 4}));
  train_to_the_end(2, "two-ranks", "finer", kind);
  expect_same_run(path("one-rank"), path("two-ranks"), 24);
  for (const char* steps : {"5", "7"}) {
    Arguments stop = kind;
    stop.insert(stop.end(), {"--stop-after-steps", steps});
    ASSERT_EQ(train(2, "stopped", "finer", stop).exit_code, 85);
  }
  train_to_the_end(4, "stopped", "finer", kind);
  expect_same_run(path("one-rank"), path("stopped"), 24);
}

TEST_F(Mask, AResumedRunReportsChangedOptions) {
  ASSERT_EQ(train(1, "changed", "teacher", {"--stop-after-steps", "2"}).exit_code, 85);
  const ProcessResult same = train(1, "changed", "teacher", {"--stop-after-steps", "2", "--keep", "0.50"});
  EXPECT_EQ(same.output.find("changes from"), std::string::npos) << same.output;
  const ProcessResult other = train(1, "changed", "teacher",
                                    {"--stop-after-steps", "2", "--keep", "4", "--mask-criterion", "lowest",
                                     "--keep-schedule", "linear", "--keep-start", "12"});
  EXPECT_EQ(other.exit_code, 85) << other.output;
  for (const char* part : {"--keep changes from 0.5 to 4", "--mask-criterion changes from student to lowest",
                           "--keep-schedule changes from constant to linear", "--keep-start changes from 1.0 to 12"}) {
    EXPECT_NE(other.output.find(part), std::string::npos) << "no '" << part << "' in: " << other.output;
  }
}

TEST_F(Mask, ThePictureOfTheEvaluationShowsTheSameCounts) {
  const auto draw = [](const std::string& keep, const fs::path& picture) {
    return run_process(on_ranks(1, "maskedkd_evaluate",
                                {"--data-path", data(), "--weights", path("teacher"), "--device", "cpu", "--threads",
                                 "1", "--masks", picture, "--mask-images", "3", "--keep", keep}));
  };
  for (const char* keep : {"4", "0.25", "1.0"}) {
    const ProcessResult drawn = draw(keep, path(std::string("masks-") + keep + ".png"));
    ASSERT_EQ(drawn.exit_code, 0) << drawn.output;
  }
  EXPECT_EQ(file_bytes(path("masks-4.png")), file_bytes(path("masks-0.25.png")));
  EXPECT_NE(file_bytes(path("masks-4.png")), file_bytes(path("masks-1.0.png")));
  for (const char* keep : {"17", "0", "1.5"}) {
    const ProcessResult refused = draw(keep, path("no-picture.png"));
    EXPECT_EQ(refused.exit_code, 2) << refused.output;
    EXPECT_NE(refused.output.find(std::string("--keep ") + keep), std::string::npos) << refused.output;
    EXPECT_FALSE(fs::exists(path("no-picture.png")));
  }
  const ProcessResult misnamed = draw("4", path("picture.jpg"));
  EXPECT_EQ(misnamed.exit_code, 2) << misnamed.output;
  EXPECT_NE(misnamed.output.find("picture.jpg is not a PNG file"), std::string::npos) << misnamed.output;
}

}  // namespace
}  // namespace maskedkd::testing
