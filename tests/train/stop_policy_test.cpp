// When a run stops: after a number of steps, at its time limit with enough time for a step and a save, by a signal.
#include "maskedkd/train/stop_policy.hpp"

#include "maskedkd/train/stop_signal.hpp"

#include <gtest/gtest.h>

#include <csignal>

namespace maskedkd {
namespace {

JobClock clock_of(const std::string& limit) {
  return {TimeLimit(limit, [](const char*) { return std::string(); }), ""};
}

TEST(StopPolicy, StopsAfterSoManyStepsOfThisProcess) {
  StopPolicy policy(clock_of("none"), 3);
  for (int step = 0; step < 2; ++step) {
    EXPECT_FALSE(policy.is_requested_after_step()) << step;
    policy.record_step(0.1);
  }
  EXPECT_TRUE(policy.is_requested_after_step()) << "the third step is running";
  EXPECT_FALSE(policy.is_requested()) << "neither a time limit nor a signal";
  EXPECT_EQ(policy.num_steps(), 2);
}

TEST(StopPolicy, NeverStopsByItselfWithoutALimit) {
  StopPolicy policy(clock_of("none"), 0);
  policy.record_step(1e9);
  policy.expect_save(1e9);
  EXPECT_FALSE(policy.is_requested_after_step());
}

// With 2 minutes left, 2 steps, 2 saves and 15 s must fit.
TEST(StopPolicy, LeavesTimeForAStepAndASave) {
  StopPolicy policy(clock_of("2"), 0);
  policy.record_step(20);
  policy.expect_save(30);
  EXPECT_FALSE(policy.is_requested()) << "115 s are needed";
  policy.expect_save(35);
  EXPECT_TRUE(policy.is_requested()) << "125 s are needed";
  policy.expect_save(0);
  EXPECT_TRUE(policy.is_at_time_limit()) << "and stays so";
}

TEST(StopPolicy, ALongStepIsForgottenAfterSomeHundredOthers) {
  StopPolicy policy(clock_of("2"), 0);
  policy.record_step(50);
  for (int step = 0; step < 300; ++step) {
    policy.record_step(1);
  }
  policy.expect_save(40);
  EXPECT_FALSE(policy.is_requested()) << "2 x 2.5 + 2 x 40 + 15 s are needed";
}

TEST(StopPolicy, ASignalStopsTheRunAndDiffersFromTheTimeLimit) {
  watch_stop_signals();
  StopPolicy policy(clock_of("none"), 0);
  EXPECT_FALSE(policy.is_signalled());
  std::raise(SIGUSR1);
  EXPECT_TRUE(policy.is_signalled());
  EXPECT_TRUE(policy.is_requested());
  EXPECT_FALSE(policy.is_at_time_limit());
}

}  // namespace
}  // namespace maskedkd
