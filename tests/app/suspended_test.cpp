// Trainings that are stopped and continued, as a batch system suspends jobs, and invalid ends of jobs.
#include "app/training_run.hpp"

#include <csignal>
#include <cstdlib>
#include <ctime>
#include <thread>

namespace maskedkd::testing {
namespace {

class Suspended : public TrainingRun {
 protected:
  void TearDown() override { unsetenv("MASKEDKD_JOB_END"); }
};

void sleep_for(int seconds) { std::this_thread::sleep_for(std::chrono::seconds(seconds)); }

// 15 s and the time of two steps and saves are kept before the end: if the pause counted, the run would end at once.
TEST_F(Suspended, APauseDoesNotCountAgainstTheTimeLimit) {
  setenv("MASKEDKD_JOB_END", std::to_string(std::time(nullptr) + 60).c_str(), 1);
  BackgroundProcess run(alone("paused", {"--epochs", "100000"}));
  while (run.running() && newest("paused").empty()) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  run.signal(SIGSTOP);
  sleep_for(50);
  const std::filesystem::path before = newest("paused");
  run.signal(SIGCONT);
  sleep_for(6);
  EXPECT_TRUE(run.running());
  EXPECT_NE(newest("paused"), before) << "it did not continue";
  run.signal(SIGTERM);
  const ProcessResult stopped = run.wait();
  EXPECT_EQ(stopped.exit_code, 85) << stopped.output;
  EXPECT_NE(stopped.output.find("which does not count against its time limit"), std::string::npos) << stopped.output;
  EXPECT_EQ(stopped.output.find("before the time limit"), std::string::npos) << stopped.output;
}

TEST_F(Suspended, AnEndInThePastStopsNothing) {
  setenv("MASKEDKD_JOB_END", std::to_string(std::time(nullptr) - 3600).c_str(), 1);
  const ProcessResult finished = train(2, "past");
  EXPECT_EQ(finished.exit_code, 0) << finished.output;
  const std::size_t first = finished.output.find("lies in the past");
  ASSERT_NE(first, std::string::npos) << finished.output;
  EXPECT_EQ(finished.output.find("lies in the past", first + 1), std::string::npos) << "once, not by every rank";
}

}  // namespace
}  // namespace maskedkd::testing
