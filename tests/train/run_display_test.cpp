// The published status: the position of the run, its speed and remaining time, for this process and this epoch.
#include "maskedkd/train/run_display.hpp"

#include <gtest/gtest.h>

#include <thread>

namespace maskedkd {
namespace {

class RunDisplayTest : public ::testing::Test {
 protected:
  RunDisplay display_{{/*epochs=*/5, /*steps_per_epoch=*/10, /*images_per_step=*/32},
                      /*draws=*/false,
                      [this](const RunStatus& status) { published_ = status; }};
  RunStatus published_;
};

RunState at(std::int64_t epoch, std::int64_t step) {
  RunState state;
  state.epoch = epoch;
  state.step = step;
  state.global_step = 10 * epoch + step;
  return state;
}

TEST_F(RunDisplayTest, ShowsThePositionOfTheRun) {
  display_.show(at(2, 3), "starting");
  EXPECT_EQ(published_.state, "starting");
  EXPECT_EQ(published_.epoch, 2);
  EXPECT_EQ(published_.epochs, 5);
  EXPECT_EQ(published_.step, 23);
  EXPECT_EQ(published_.steps, 50);
  EXPECT_EQ(published_.images_per_second, 0) << "no step was timed";
}

// The process began in the middle of the epoch: 3 steps in a little more than 0.3 s.
TEST_F(RunDisplayTest, RatesCountOnlyTheStepsOfThisProcess) {
  display_.begin_epoch(at(2, 4), /*waited_s=*/7);
  const auto began = RunningClock::now();
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  display_.show_step(at(2, 7), 1.5, 1e-3, 7.1);
  const double longest = std::chrono::duration<double>(RunningClock::now() - began).count() + 0.05;
  EXPECT_LE(published_.images_per_second, 3 * 32 / 0.3);
  EXPECT_GE(published_.images_per_second, 3 * 32 / longest);
  EXPECT_NEAR(published_.eta_s, (50 - 27) * 32 / published_.images_per_second, 0.05 * published_.eta_s);
  EXPECT_EQ(published_.state, "running");
}

TEST_F(RunDisplayTest, RatesOfAnEpochCountOnlyItsOwnWaiting) {
  display_.begin_epoch(at(1, 5), /*waited_s=*/20);
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  const auto rates = display_.epoch_rates(20.1);
  ASSERT_TRUE(rates);
  EXPECT_LE(rates->images_per_second, 5 * 32 / 0.2);
  EXPECT_GT(rates->images_per_second, 0);
  EXPECT_LE(rates->waiting_share, 0.1 / 0.2);
  EXPECT_NEAR(rates->waiting_share * 5 * 32, 0.1 * rates->images_per_second, 1e-6);
}

TEST_F(RunDisplayTest, AnEpochOfAnEarlierProcessHasNoRates) {
  display_.begin_epoch(at(1, 10), 0);
  EXPECT_FALSE(display_.epoch_rates(1));
}

TEST_F(RunDisplayTest, TheNewestCheckpointIsShownUntilThereIsANewerOne) {
  display_.record_checkpoint("step-000000010", 1234);
  display_.record_checkpoint("", 0);
  display_.show(at(1, 2), "stopped");
  EXPECT_EQ(published_.last_checkpoint, "step-000000010");
  EXPECT_EQ(published_.last_checkpoint_time, 1234);
}

}  // namespace
}  // namespace maskedkd
