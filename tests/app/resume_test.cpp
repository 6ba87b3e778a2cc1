// A run that is stopped or killed, and resumed, gives the same result as an uninterrupted run.
#include "app/training_run.hpp"

#include <gtest/gtest.h>

#include <csignal>
#include <cstdlib>
#include <random>
#include <thread>

namespace maskedkd::testing {
namespace {

namespace fs = std::filesystem;

constexpr int kSteps = 48;  // of the whole run

class Resume : public TrainingRun {};

// Steps 41 to 48 are compared by the log of the last epoch and by the weights.
TEST_F(Resume, FortyStepsThenEightEqualARunWithoutStop) {
  const fs::path expected = undisturbed("plain");
  const ProcessResult stopped = train(1, "forty", {"--stop-after-steps", "40"});
  ASSERT_EQ(stopped.exit_code, 85) << stopped.output;
  ASSERT_TRUE(fs::exists(run_folder("forty") / "checkpoints" / "step-000000040"));
  const ProcessResult finished = train(1, "forty");
  ASSERT_EQ(finished.exit_code, 0) << finished.output;
  expect_same_run(expected, run_folder("forty"), kSteps);
}

TEST_F(Resume, AStopWithinAnEpochAndOtherNumbersOfRanksChangeNoBit) {
  const fs::path expected = undisturbed("plain");
  for (const auto& [ranks, steps] : std::vector<std::pair<int, int>>{{2, 5}, {4, 17}, {1, 3}, {4, 8}}) {
    const ProcessResult stopped = train(ranks, "elastic", {"--stop-after-steps", std::to_string(steps)});
    ASSERT_EQ(stopped.exit_code, 85) << stopped.output;
  }
  const ProcessResult finished = train(2, "elastic");
  ASSERT_EQ(finished.exit_code, 0) << finished.output;
  expect_same_run(expected, run_folder("elastic"), kSteps);
}

TEST_F(Resume, TwoAndFourRanksGiveTheBitsOfOne) {
  const fs::path expected = undisturbed("plain");
  for (const int ranks : {2, 4}) {
    const std::string name = "ranks-" + std::to_string(ranks);
    const ProcessResult result = train(ranks, name);
    ASSERT_EQ(result.exit_code, 0) << result.output;
    expect_same_run(expected, run_folder(name), kSteps);
  }
}

// Three ranks share four micro-batches unevenly and add in another order: the result differs by rounding.
TEST_F(Resume, ThreeRanksMayShareFourMicroBatches) {
  const ProcessResult result = train(3, "three", {"--epochs", "1"});
  ASSERT_EQ(result.exit_code, 0) << result.output;
  const auto loss = [](const std::string& log) { return std::atof(log.c_str() + log.find("train_loss\":") + 12); };
  const std::string one = log_without_times(undisturbed("one-epoch", {"--epochs", "1"}));
  EXPECT_NEAR(loss(one), loss(log_without_times(run_folder("three"))), 1e-5);
}

TEST_F(Resume, AStateWithAllOptionalPartsIsRestoredBitForBit) {
  const Arguments kind = {
      "--distilled",  "--layer-scale", "--model-ema-decay", "0.9", "--precision",         "bf16", "--repeats", "3",
      "--mixup-mode", "elem",          "--clip-grad",       "0.5", "--distillation-type", "hard"};
  const fs::path expected = undisturbed("rich", kind);
  Arguments stop = kind;
  stop.insert(stop.end(), {"--stop-after-steps", "21"});
  ASSERT_EQ(train(2, "rich", stop).exit_code, 85);
  ASSERT_EQ(train(4, "rich", kind).exit_code, 0);
  expect_same_run(expected, run_folder("rich"), kSteps);
}

TEST_F(Resume, StopSignalsEndAfterTheStepWithTheRequeueCode) {
  const fs::path expected = undisturbed("plain");
  for (const int signal_number : {SIGUSR1, SIGUSR2, SIGXCPU, SIGTERM, SIGHUP, SIGINT}) {
    const fs::path before = newest("signalled");
    BackgroundProcess training(alone("signalled", {"--checkpoint-steps", "1"}));
    while (training.running() && newest("signalled") == before) {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    training.signal(signal_number);
    if (signal_number != SIGINT) {  // a second Ctrl-C ends at once
      training.signal(signal_number);
    }
    const ProcessResult stopped = training.wait(20);
    EXPECT_EQ(stopped.exit_code, 85) << stopped.output;
  }
  ASSERT_EQ(train(2, "signalled").exit_code, 0);
  expect_same_run(expected, run_folder("signalled"), kSteps);
}

TEST_F(Resume, KillsAtRandomTimesChangeNoBit) {
  const fs::path expected = undisturbed("plain");
  const char* text = std::getenv("MASKEDKD_KILLS");
  const int kills = text != nullptr ? std::atoi(text) : 6;
  double whole_s = train(2, "timed", {"--checkpoint-steps", "3"}).seconds;
  std::mt19937 random(20240921);
  std::uniform_real_distribution<double> part(0.2, 1.0);
  int done = 0, runs = 0;
  while (done < kills) {
    ASSERT_LT(runs, 4 * kills) << "nearly all runs ended before they could be killed";
    const std::string name = "killed-" + std::to_string(runs++);
    for (int tries = 0;; ++tries) {
      BackgroundProcess training(on_ranks(
          2, "maskedkd_train", student_arguments(data(), teacher(), run_folder(name), {"--checkpoint-steps", "3"})));
      const bool to_the_end = tries == 5 || done == kills;
      const int delay_ms = static_cast<int>(1000 * whole_s * part(random));
      for (int waited = 0; !to_the_end && waited < delay_ms && training.running(); waited += 10) {
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
      }
      if (!to_the_end && training.running()) {
        training.signal_group(SIGKILL);
        training.wait(20);
        ++done;
        continue;
      }
      const ProcessResult finished = training.wait(60);
      ASSERT_EQ(finished.exit_code, 0) << finished.output;
      if (tries == 0) {  // it ended sooner than expected: the machine is less busy now
        whole_s = std::min(whole_s, finished.seconds);
      }
      break;
    }
    expect_same_run(expected, run_folder(name), kSteps);
    fs::remove_all(run_folder(name));
  }
  std::printf("%d kills in %d runs, all ended with the bits of the undisturbed one\n", done, runs);
}

// The best figures of the other folder do not count: the first evaluation makes a best checkpoint.
TEST_F(Resume, ACheckpointOfAnotherFolderCanBeResumed) {
  const fs::path checkpoint = undisturbed("evaluated", {"--eval-data-path", data(), "--epochs", "4"}) / "checkpoints";
  const ProcessResult moved =
      train(2, "moved", {"--eval-data-path", data(), "--epochs", "5", "--resume", checkpoint / "best"});
  ASSERT_EQ(moved.exit_code, 0) << moved.output;
  EXPECT_TRUE(fs::exists(run_folder("moved") / "checkpoints" / "best" / "model.safetensors"));
}

// 0.0 equals the 0 with which the run was started.
TEST_F(Resume, OptionsAreComparedByValue) {
  ASSERT_EQ(train(1, "values", {"--stop-after-steps", "2", "--model-ema-decay", "0"}).exit_code, 85);
  const ProcessResult again =
      train(1, "values", {"--stop-after-steps", "2", "--model-ema-decay", "0.0", "--lr", "0.008"});
  EXPECT_EQ(again.exit_code, 85) << again.output;
  EXPECT_EQ(again.output.find("changes from"), std::string::npos) << again.output;
}

TEST_F(Resume, FewerEpochsThanHaveBegunAreRefused) {
  ASSERT_EQ(train(1, "fewer", {"--stop-after-steps", "20"}).exit_code, 85);
  const ProcessResult refused = train(2, "fewer", {"--epochs", "2", "--warmup-epochs", "1"});
  EXPECT_EQ(refused.exit_code, 2) << refused.output;
  EXPECT_NE(refused.output.find("--epochs 2: the run has already begun epoch 3"), std::string::npos) << refused.output;
  EXPECT_EQ(train(2, "fewer", {"--epochs", "3", "--warmup-epochs", "1"}).exit_code, 0);
}

TEST_F(Resume, AFinishedRunStartedAgainEndsAtOnce) {
  const fs::path run = undisturbed("plain");
  const std::string before = log_without_times(run);
  const ProcessResult again = train(2, run.filename());
  EXPECT_EQ(again.exit_code, 0) << again.output;
  EXPECT_EQ(again.output.find("has no effect"), std::string::npos) << again.output;
  EXPECT_EQ(before, log_without_times(run));

  const ProcessResult other = train(1, run.filename(), {"--keep", "0.25", "--width", "32"});
  EXPECT_EQ(other.exit_code, 0) << other.output;
  EXPECT_NE(other.output.find("--keep changes from 0.5 to 0.25, which has no effect"), std::string::npos);
  EXPECT_NE(other.output.find("--width changes from 24 to 32, which has no effect"), std::string::npos) << other.output;
  EXPECT_EQ(before, log_without_times(run));
}

TEST_F(Resume, ADamagedNewestCheckpointIsSkipped) {
  const fs::path expected = undisturbed("plain");
  ASSERT_EQ(train(1, "damaged", {"--stop-after-steps", "20"}).exit_code, 85);
  const fs::path newest = run_folder("damaged") / "checkpoints" / "step-000000020" / "optimizer.safetensors";
  flip_a_bit(newest);
  const ProcessResult resumed = train(2, "damaged");
  ASSERT_EQ(resumed.exit_code, 0) << resumed.output;
  EXPECT_NE(resumed.output.find("damaged"), std::string::npos) << resumed.output;
  EXPECT_NE(resumed.output.find("step-000000016"), std::string::npos) << resumed.output;
  expect_same_run(expected, run_folder("damaged"), kSteps);
}

}  // namespace
}  // namespace maskedkd::testing
