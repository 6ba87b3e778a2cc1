// Every errno that a file system gives, at sampled calls of saving, marking, retaining and restarting; at all calls
// with MASKEDKD_FAULTS=all.
#include "faults/checkpoint_scenario.hpp"
#include "faults/points.hpp"
#include "support/temporary_directory.hpp"

namespace maskedkd::testing {
namespace {

// Whether the message is one line that names the folder and a hint.
::testing::AssertionResult is_clear(const Promised& promised, const fs::path& run) {
  const std::string message = promised.message;
  const bool clear = message.find('\n') == std::string::npos && message.find(run.string()) != std::string::npos &&
                     promised.hint[0] != '\0';
  return (clear ? ::testing::AssertionSuccess() : ::testing::AssertionFailure())
         << "'" << message << "', hint '" << promised.hint << "'";
}

TEST(CheckpointErrors, AtSampledCallsNothingIsLostAndEveryMessageSaysWhatToDo) {
  int done = 0, num_reported = 0, num_continued = 0;
  for (const CheckpointScenario& scenario : checkpoint_scenarios()) {
    const TemporaryDirectory place;
    const fs::path run = place.path() / "run";
    const std::vector<FaultPoint> points = error_points(undisturbed_calls(scenario, place.path()));
    ASSERT_GT(points.size(), 400U) << "the calls are not seen: is the library of faults in front of libc?";
    for (const FaultPoint& point : chosen_points(points, 80)) {
      fs::create_directory(run);
      prepare(scenario, run);
      // For odd points the process restarts after an error that passes, for even points it continues and retries.
      const bool tries_again = point.kind == FAULTS_ERROR && point.n % 2 == 0;
      const ChildEnd end = run_faulty(run, point, [&](Promised& promised) {
        try {
          train(scenario, run, promised);
        } catch (const Error&) {
          if (!tries_again) {
            throw;
          }
          train(scenario, run, promised);
        }
      });
      SCOPED_TRACE(scenario.name + ", " + point.text() + ", " + end.call);
      EXPECT_GE(end.fired, 1U);
      EXPECT_LT(end.exit_code, 2) << end.promised.message;
      if (end.exit_code == 1) {
        EXPECT_TRUE(is_clear(end.promised, run));
        EXPECT_FALSE(is_harmless(point) || tries_again) << end.promised.message;
        ++num_reported;
      } else {
        EXPECT_EQ(end.promised.step, scenario.last);
        ++num_continued;
      }
      EXPECT_TRUE(is_unharmed(scenario, run, end.promised));
      fs::remove_all(run);
      ++done;
    }
  }
  std::printf("%d errors: %d ended the work with a message, %d did not disturb it\n", done, num_reported,
              num_continued);
  EXPECT_GT(num_reported, 50);
  EXPECT_GT(num_continued, 10);
}

}  // namespace
}  // namespace maskedkd::testing
