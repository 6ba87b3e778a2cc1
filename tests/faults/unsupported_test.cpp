// On a file system without support for a call (unsupported.hpp), the work is done and one message reports it, or it
// ends with one line; nothing is lost.
#include "faults/unsupported.hpp"
#include "faults/checkpoint_scenario.hpp"
#include "faults/faulty_program.hpp"
#include "faults/points.hpp"
#include "faults/tried_programs.hpp"
#include "maskedkd/io/posix.hpp"
#include "maskedkd/shards/shard_reader.hpp"
#include "support/digests.hpp"
#include "support/temporary_directory.hpp"

#include <cerrno>

namespace maskedkd::testing {
namespace {

class Unsupported : public ::testing::Test {
 protected:
  Unsupported() { pack_images(place_.path() / "source", 24); }

  fs::path disk() const { return place_.path() / "disk"; }
  Arguments packing(const fs::path& out) const { return packing_of(place_.path() / "source", out); }
  void start_anew() const {
    fs::remove_all(disk());
    fs::create_directory(disk());
  }

  TemporaryDirectory place_;
};

TEST_F(Unsupported, PackingWorksOrEndsWithOneLineAndTheNextOneCompletesIt) {
  start_anew();
  ASSERT_EQ(run_process(packing(disk() / "set")).exit_code, 0);
  const auto expected = digests_of(disk() / "set");
  int done = 0, num_reported = 0;
  for (const FaultPoint& point : chosen_points(unsupported_points(), 24)) {
    start_anew();
    const ProgramEnd end = run_faulty_program(packing(disk() / "set"), disk(), point);
    SCOPED_TRACE(point.text());
    EXPECT_LE(num_warnings(end.output), 1U) << end.output;
    if (end.exit_code == 0) {
      EXPECT_EQ(digests_of(disk() / "set"), expected);
    } else {
      EXPECT_FALSE(must_work(point)) << end.output;
      const std::vector<std::string> lines = error_lines(end.output);
      ASSERT_EQ(lines.size(), 1U) << end.output;
      EXPECT_NE(lines[0].find(disk().string()), std::string::npos) << lines[0];
      EXPECT_NE(lines[0].find("; "), std::string::npos) << "no hint: " << lines[0];
      ++num_reported;
    }
    EXPECT_EQ(run_process(packing(disk() / "set")).exit_code, 0);
    EXPECT_EQ(digests_of(disk() / "set"), expected);
    ++done;
  }
  std::printf("%d pairs, %d of them ended the packing with a line\n", done, num_reported);
}

// Module files of clusters may set this variable, which takes precedence over the program's setting in HDF5.
TEST_F(Unsupported, ShardsAreReadWithoutLocksWhateverTheEnvironmentSays) {
  start_anew();
  ASSERT_EQ(run_process(packing(disk() / "set")).exit_code, 0);
  for (const char* command : {"info", "verify"}) {
    for (const int reason : {ENOLCK, ENOSYS, EOPNOTSUPP, EIO, kKernelNotSupported}) {
      const ProgramEnd end =
          run_faulty_program({"env", "HDF5_USE_FILE_LOCKING=TRUE", packing("")[0], command, disk() / "set"}, disk(),
                             {FAULTS_CANNOT, FAULTS_LOCK, reason});
      EXPECT_EQ(end.exit_code, 0) << command << ", " << reason << ": " << end.output;
      EXPECT_EQ(end.fired, 0U) << "nothing is locked for reading";
    }
  }
}

TEST_F(Unsupported, CheckpointsAreSavedOrOneLineSaysWhyNot) {
  int done = 0, num_reported = 0;
  for (const CheckpointScenario& scenario : checkpoint_scenarios()) {
    for (const FaultPoint& point : chosen_points(unsupported_points(), 24)) {
      start_anew();
      prepare(scenario, disk());
      const ChildEnd end = run_faulty(disk(), point, [&](Promised& promised) { train(scenario, disk(), promised); });
      SCOPED_TRACE(scenario.name + ", " + point.text());
      ASSERT_LT(end.exit_code, 2) << end.promised.message;
      if (end.exit_code == 1) {
        EXPECT_FALSE(must_work(point)) << end.promised.message;
        EXPECT_NE(std::string(end.promised.message).find(disk().string()), std::string::npos) << end.promised.message;
        EXPECT_NE(end.promised.hint[0], '\0') << end.promised.message;
        ++num_reported;
      } else {
        EXPECT_EQ(end.promised.step, scenario.last);
      }
      EXPECT_TRUE(is_unharmed(scenario, disk(), end.promised));
      ++done;
    }
  }
  std::printf("%d pairs, %d of them ended the work with a message\n", done, num_reported);
}

}  // namespace
}  // namespace maskedkd::testing
