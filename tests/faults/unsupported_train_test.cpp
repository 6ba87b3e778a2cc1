// maskedkd_train on a file system that does not support one kind of call, for its run and its staged copies: it trains
// with the same result and reports that once, or it ends with one line; the next start on another file system finishes
// the run.
#include "faults/faulty_program.hpp"
#include "faults/points.hpp"
#include "faults/tried_programs.hpp"
#include "faults/unsupported.hpp"
#include "support/temporary_directory.hpp"

#include <gtest/gtest.h>

namespace maskedkd::testing {
namespace {

namespace fs = std::filesystem;

class UnsupportedTrain : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    place = new TemporaryDirectory;
    pack_images(place->path() / "data", 64);
    ASSERT_EQ(run_process(command(place->path() / "whole")).exit_code, 0);
    Arguments half = command(place->path() / "half");
    half.insert(half.end(), {"--stop-after-steps", "2"});
    ASSERT_EQ(run_process(half).exit_code, 85);
  }
  static void TearDownTestSuite() { delete place; }

  static Arguments command(const fs::path& disk) {
    return training_of(place->path() / "data", disk / "run", {"--stage-to", disk / "stage"});
  }
  static void expect_whole(const fs::path& disk, bool has_best) {
    expect_same_run(place->path() / "whole" / "run", disk / "run", kTrainedSteps);
    EXPECT_TRUE(!has_best || fs::exists(disk / "run" / "checkpoints" / "best" / "model.safetensors") ||
                fs::is_regular_file(disk / "run" / "checkpoints" / "best"));
  }

  // begun: the folder that the run's state is copied from; empty for a new run. Returns how many pairs met a call.
  static int try_all(const fs::path& begun) {
    const fs::path disk = place->path() / "disk";
    int done = 0, untouched = 0, num_reported = 0;
    for (const FaultPoint& point : chosen_points(unsupported_points(), 6)) {
      fs::remove_all(disk);
      fs::create_directory(disk);
      if (!begun.empty()) {
        fs::copy(begun, disk, fs::copy_options::recursive | fs::copy_options::copy_symlinks);
      }
      const ProgramEnd end = run_faulty_program(command(disk), disk, point);
      SCOPED_TRACE(point.text() + ", " + end.call);
      ++done;
      // Each epoch reports that its best weights could not be marked, and the run continues.
      const bool no_best = point.n == FAULTS_MAKE_A_LINK && !must_work(point);
      if (end.exit_code == 0) {
        expect_whole(disk, !no_best);
        EXPECT_TRUE(no_best || num_warnings(end.output) <= (must_work(point) ? 1U : 2U)) << end.output;
      } else {
        EXPECT_FALSE(must_work(point)) << end.output;
        EXPECT_TRUE(end.exit_code == 1 || end.exit_code == 2 || end.exit_code == 85) << end.exit_code;
        const std::vector<std::string> lines = error_lines(end.output);
        EXPECT_EQ(lines.size(), 1U) << end.output;
        EXPECT_NE(lines.at(0).find(disk.string()), std::string::npos) << lines[0];
        EXPECT_NE(lines.at(0).find("; "), std::string::npos) << "no hint: " << lines[0];
        ++num_reported;
      }
      if (end.fired == 0) {
        ++untouched;
        continue;
      }
      const ProcessResult finished = run_process(command(disk));
      EXPECT_EQ(finished.exit_code, 0) << finished.output;
      expect_whole(disk, !no_best);
    }
    std::printf("%d pairs, %d of them of calls that are not made, %d ended the training with a line\n", done, untouched,
                num_reported);
    return done - untouched;
  }

  static TemporaryDirectory* place;
};
TemporaryDirectory* UnsupportedTrain::place = nullptr;

TEST_F(UnsupportedTrain, ANewRunFinishesOrEndsWithOneLine) { EXPECT_GT(try_all({}), 0); }
TEST_F(UnsupportedTrain, AResumedRunFinishesOrEndsWithOneLine) { EXPECT_GT(try_all(place->path() / "half"), 0); }
TEST_F(UnsupportedTrain, AFinishedRunEndsOrEndsWithOneLine) { try_all(place->path() / "whole"); }

}  // namespace
}  // namespace maskedkd::testing
