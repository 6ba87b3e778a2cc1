// SIGKILL before, in and after sampled file-system calls of saving, marking, retaining and restarting; all calls with
// MASKEDKD_FAULTS=all.
#include "faults/checkpoint_scenario.hpp"
#include "faults/points.hpp"
#include "support/temporary_directory.hpp"

namespace maskedkd::testing {
namespace {

TEST(CheckpointKilled, AtSampledCallsNothingIsLost) {
  int done = 0, inside_writes = 0, swept = 0;
  for (const CheckpointScenario& scenario : checkpoint_scenarios()) {
    const TemporaryDirectory place;
    const fs::path run = place.path() / "run";
    const std::vector<FaultPoint> points = kill_points(undisturbed_calls(scenario, place.path()));
    ASSERT_GT(points.size(), 200U) << "the calls are not seen: is the library of faults in front of libc?";
    for (const FaultPoint& point : chosen_points(points)) {
      fs::create_directory(run);
      prepare(scenario, run);
      const ChildEnd end = run_faulty(run, point, [&](Promised& promised) { train(scenario, run, promised); });
      ASSERT_TRUE(end.killed && end.fired == 1U) << point.text() << ": exit code " << end.exit_code;
      swept += fs::exists(run / "run" / ".lease") && has_leftovers(run / "run") ? 1 : 0;
      ASSERT_TRUE(is_unharmed(scenario, run, end.promised))
          << scenario.name << ", " << point.text() << ", " << end.call;
      fs::remove_all(run);
      ++done;
      inside_writes += point.kind == FAULTS_KILL_HALF ? 1 : 0;
    }
  }
  std::printf("%d kills, %d of them in the middle of a write, %d left something to sweep\n", done, inside_writes,
              swept);
  EXPECT_GT(done, 50);
  EXPECT_GT(inside_writes, 0);
  EXPECT_GT(swept, 0);
}

}  // namespace
}  // namespace maskedkd::testing
