// maskedkd_train with faults at sampled file-system calls below its output (at all with MASKEDKD_FAULTS=all): when it
// was killed, got an error or lost power, the next start finishes with the bits of the undisturbed run, and no existing
// checkpoint is harmed.
#include "faults/faulty_program.hpp"
#include "faults/points.hpp"
#include "faults/tried_programs.hpp"
#include "maskedkd/base/error.hpp"
#include "maskedkd/checkpoint/checkpoint.hpp"
#include "support/temporary_directory.hpp"

#include <gtest/gtest.h>

#include <algorithm>

namespace maskedkd::testing {
namespace {

namespace fs = std::filesystem;

class TrainFaults : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    place = new TemporaryDirectory;
    pack_images(place->path() / "data", 64);
    whole = new PowerCut(fresh("whole"));
    const ProgramEnd end = run_faulty_program(command(disk("whole")), disk("whole"), {}, place->path() / "log");
    ASSERT_EQ(end.exit_code, 0) << end.output;
    operations = new std::vector<Operation>(read_operations(place->path() / "log"));
    ASSERT_GT(operations->size(), 150U) << "the calls are not seen: is the library of faults loaded?";
  }
  static void TearDownTestSuite() {
    delete operations;
    delete whole;
    delete place;
  }

  static fs::path disk(const std::string& name) { return place->path() / name; }
  static fs::path fresh(const std::string& name) {
    fs::remove_all(disk(name));
    fs::create_directory(disk(name));
    return disk(name);
  }
  static Arguments command(const fs::path& disk) { return training_of(place->path() / "data", disk / "run"); }
  // The step of the newest checkpoint that had its name before call n.
  static std::int64_t saved_before(std::uint64_t n) {
    std::int64_t step = 0;
    for (const Operation& operation : *operations) {
      const std::string name = fs::path(operation.other).filename();
      if (operation.call == FAULTS_RENAME && operation.number < n && name.starts_with("step-")) {
        step = std::max<std::int64_t>(step, std::stoll(name.substr(5)));
      }
    }
    return step;
  }
  // All listed checkpoints are whole, and the last saved one or the one before exists: the saving thread and the main
  // thread do not make their calls in the same order twice.
  static void expect_unharmed(const fs::path& disk, std::int64_t saved) {
    const std::int64_t at_least = saved - 1;
    std::int64_t newest = 0;
    for (const fs::path& path : list_checkpoints(disk / "run" / "checkpoints")) {
      try {
        newest = load_checkpoint(path).step;
      } catch (const Error& error) {
        ADD_FAILURE() << error.what();
      }
    }
    EXPECT_GE(newest, at_least);
  }
  static void expect_finishes(const fs::path& disk) {
    const ProcessResult finished = run_process(command(disk));
    ASSERT_EQ(finished.exit_code, 0) << finished.output;
    expect_same_run(place->path() / "whole" / "run", disk / "run", kTrainedSteps);
    EXPECT_TRUE(fs::exists(disk / "run" / "checkpoints" / "best" / "model.safetensors"));
    for (const auto& entry : fs::directory_iterator(disk / "run" / "checkpoints")) {
      EXPECT_FALSE(entry.path().filename().string().starts_with(".tmp-")) << entry.path();
    }
  }

  static TemporaryDirectory* place;
  static PowerCut* whole;
  static std::vector<Operation>* operations;
};
TemporaryDirectory* TrainFaults::place = nullptr;
PowerCut* TrainFaults::whole = nullptr;
std::vector<Operation>* TrainFaults::operations = nullptr;

TEST_F(TrainFaults, KilledAtSampledCallsItFinishesWithTheSameBits) {
  int done = 0;
  for (const FaultPoint& point : chosen_points(kill_points(*operations), 5)) {
    const fs::path killed = fresh("killed");
    const ProgramEnd end = run_faulty_program(command(killed), killed, point);
    SCOPED_TRACE(point.text() + ", " + end.call);
    if (end.fired == 0) {  // the number of the lease's heartbeats depends on the run's duration
      EXPECT_EQ(end.exit_code, 0) << end.output;
      continue;
    }
    EXPECT_EQ(end.exit_code, 137) << end.output;
    expect_unharmed(killed, saved_before(point.n));
    expect_finishes(killed);
    ++done;
  }
  std::printf("%d kills in %zu calls\n", done, operations->size());
  EXPECT_GT(done, 2);
}

TEST_F(TrainFaults, AfterErrorsAtSampledCallsItFinishesWithTheSameBits) {
  int done = 0, num_reported = 0;
  for (const FaultPoint& point : chosen_points(error_points(*operations), 4)) {
    const fs::path disturbed = fresh("disturbed");
    const ProgramEnd end = run_faulty_program(command(disturbed), disturbed, point);
    SCOPED_TRACE(point.text() + ", " + end.call);
    if (end.fired == 0) {
      EXPECT_EQ(end.exit_code, 0) << end.output;
      continue;
    }
    expect_unharmed(disturbed, saved_before(point.n));
    num_reported += end.exit_code != 0 || end.output.find(" warning ") != std::string::npos ? 1 : 0;
    if (end.exit_code != 0) {
      EXPECT_FALSE(is_harmless(point)) << end.output;
      if (end.exit_code == 85) {  // its last checkpoint or its mark could not be written
        EXPECT_TRUE(end.output.find("tries again") != std::string::npos || error_lines(end.output).size() == 1)
            << end.output;
        expect_finishes(disturbed);
        ++done;
        continue;
      }
      EXPECT_TRUE(end.exit_code == 1 || end.exit_code == 2) << end.exit_code;
      const std::vector<std::string> lines = error_lines(end.output);
      ASSERT_EQ(lines.size(), 1U) << end.output;
      EXPECT_NE(lines[0].find((disturbed / "run").string()), std::string::npos) << lines[0];
    }
    expect_finishes(disturbed);
    ++done;
  }
  std::printf("%d errors, %d of them were reported\n", done, num_reported);
  EXPECT_GT(num_reported, 0);
}

TEST_F(TrainFaults, ALostBestEpochIsReplacedByTheNextOne) {
  int lost = 0, tried = 0;
  for (const FaultPoint& point : error_points(*operations)) {
    const auto operation = std::find_if(operations->begin(), operations->end(),
                                        [&](const Operation& candidate) { return candidate.number == point.n; });
    if (lost == 2 || tried == 8) {
      break;
    }
    if (operation == operations->end() || is_harmless(point) ||
        operation->path.find("step-000000002-evaluated-attempt") == std::string::npos) {
      continue;
    }
    const fs::path disturbed = fresh("lost");
    const ProgramEnd end = run_faulty_program(command(disturbed), disturbed, point);
    SCOPED_TRACE(point.text() + ", " + end.call);
    ++tried;
    lost += fs::exists(disturbed / "run" / "checkpoints" / "step-000000002-evaluated") ? 0 : 1;
    expect_finishes(disturbed);
  }
  EXPECT_GT(lost, 0) << "of " << tried;
}

TEST_F(TrainFaults, AfterPowerCutsAtSampledCallsItFinishesWithTheSameBits) {
  struct Cut {
    std::size_t after;
    Survival survival;
  };
  std::vector<Cut> cuts;
  for (std::size_t after = 0; after <= operations->size(); ++after) {
    for (const Survival survival : {Survival::synced_only, Survival::random}) {
      cuts.push_back({after, survival});
    }
  }
  int done = 0;
  for (const Cut& cut : chosen_points(cuts, 4)) {
    SCOPED_TRACE("after " + std::to_string(cut.after) + ", variant " + std::to_string(static_cast<int>(cut.survival)));
    whole->rebuild(*operations, cut.after, cut.survival, cut.after, disk("after"));
    if (cut.survival == Survival::synced_only) {
      expect_unharmed(disk("after"), 0);
    }
    expect_finishes(disk("after"));
    fs::remove_all(disk("after"));
    ++done;
  }
  std::printf("%d power cuts\n", done);
  EXPECT_GT(done, 2);
}

}  // namespace
}  // namespace maskedkd::testing
