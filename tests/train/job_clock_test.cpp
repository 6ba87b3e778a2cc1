// The time limit of a job that is suspended and resumed. A script that prints what Slurm 22.05 does replaces squeue.
#include "maskedkd/train/job_clock.hpp"

#include "maskedkd/train/slurm_end.hpp"
#include "support/stopped_child.hpp"
#include "support/temporary_directory.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>

namespace maskedkd::testing {
namespace {

class JobClockTest : public ::testing::Test {
 protected:
  JobClockTest() { setenv("PATH", (place_.path().string() + ":" + path_).c_str(), 1); }
  ~JobClockTest() override {
    setenv("PATH", path_.c_str(), 1);
    for (const char* name : {"TZ", "SLURM_TIME_FORMAT", "SQUEUE_STATES", "SLURM_CLUSTERS"}) {
      unsetenv(name);
    }
  }
  void write_squeue(const std::string& script) const {
    std::ofstream(squeue_) << "#!/bin/sh\n" << script;
    std::filesystem::permissions(squeue_, std::filesystem::perms::owner_all);
  }

  const TemporaryDirectory place_;
  const std::filesystem::path squeue_ = place_.path() / "squeue";
  const std::string path_ = std::getenv("PATH");
};

// Dates are printed in the user's time zone and format; for an array all jobs are shown.
TEST_F(JobClockTest, ReadsTheEndOfItsJobWhateverTheUsersSettingsAre) {
  write_squeue(R"([ "$*" = "--noheader --jobs=$(cat "$0.job") --format=%A %e" ] || exit 1
[ -z "$SLURM_TIME_FORMAT$SQUEUE_STATES$SLURM_CLUSTERS" ] || { echo "7 Tomorr 12:34"; exit; }
echo "6 2030-01-01T00:00:00"
echo "17 2030-01-01T00:00:00"
date --date=@1900000000 "+7 %FT%T"
echo "8 N/A"
echo "9 NONE"
)");
  const auto end_of = [&](const std::string& job) {
    std::ofstream(squeue_.string() + ".job") << job;
    return ask_slurm_for_end(job).get();
  };
  for (const char* zone : {"UTC0", "Asia/Tokyo", "America/New_York"}) {
    setenv("TZ", zone, 1);
    setenv("SLURM_TIME_FORMAT", "relative", 1);
    setenv("SQUEUE_STATES", "PENDING", 1);
    setenv("SLURM_CLUSTERS", "other", 1);
    EXPECT_EQ(end_of("7"), 1900000000) << zone;
    EXPECT_EQ(end_of("8"), std::nullopt);
    EXPECT_EQ(end_of("5"), std::nullopt);
    EXPECT_EQ(end_of("9"), INFINITY) << "no time limit";
  }
}

TEST_F(JobClockTest, InvalidAnswersGiveNoEnd) {
  for (const char* script :
       {"exit 1", "echo squeue: error: Unable to contact slurm controller >&2; exit 1", "echo 7", "echo 7 Unknown",
        "echo 7 2030-01-01", "echo 7 2030-01-01T00:00:00+09:00", "kill -9 $$", "exec >&-; sleep 1"}) {
    write_squeue(script);
    EXPECT_EQ(ask_slurm_for_end("7").get(), std::nullopt) << script;
  }
  std::filesystem::permissions(squeue_, std::filesystem::perms::owner_read);
  EXPECT_EQ(ask_slurm_for_end("7").get(), std::nullopt) << "not executable";
  std::filesystem::remove(squeue_);
  setenv("PATH", place_.path().c_str(), 1);
  EXPECT_EQ(ask_slurm_for_end("7").get(), std::nullopt) << "squeue is missing, as in many containers";
}

TEST_F(JobClockTest, ASqueueThatHangsIsKilled) {
  write_squeue("echo $$ >\"$0.pid\"; exec sleep 60");
  const auto began = std::time(nullptr);
  auto answer = ask_slurm_for_end("7", std::chrono::seconds(2));
  EXPECT_EQ(answer.wait_for(std::chrono::seconds(0)), std::future_status::timeout);
  EXPECT_EQ(answer.get(), std::nullopt);
  EXPECT_LT(std::time(nullptr) - began, 20);
  pid_t squeue = 0;
  std::ifstream(squeue_.string() + ".pid") >> squeue;
  ASSERT_GT(squeue, 0);
  EXPECT_EQ(kill(squeue, 0), -1) << "it still runs";
}

std::string in_seconds(double seconds) {
  return std::to_string(std::time(nullptr) + static_cast<std::time_t>(seconds));
}

// Stops a job with a limit of a minute for three seconds. The remaining time must be between the two values.
bool after_a_pause(const std::string& slurm_job, double least, double most) {
  return in_child(
      [&] {
        RunningClock::start();
        const TimeLimit limit("auto", [end = in_seconds(60)](const char* name) {
          return name == std::string("MASKEDKD_JOB_END") ? end : std::string();
        });
        JobClock clock(limit, slurm_job);
        bool never_wrong = true;
        const auto began = std::chrono::steady_clock::now();
        while (std::chrono::steady_clock::now() - began < std::chrono::seconds(7)) {
          never_wrong = never_wrong && !clock.has_less_than(54);  // it has run for 4 s
          usleep(1000);
        }
        return never_wrong && !clock.has_less_than(least) && clock.has_less_than(most);
      },
      [](pid_t child) {
        usleep(500'000);
        stop_for(child, 3000);
      });
}

TEST_F(JobClockTest, APauseDoesNotCountAndSlurmIsQueriedForTheNewEnd) {
  write_squeue("date --utc --date='+1000 seconds' '+7 %FT%T'");
  EXPECT_TRUE(after_a_pause("7", 980, 1001));
}

TEST_F(JobClockTest, APauseDoesNotCountIfSlurmDoesNotAnswer) {
  write_squeue("exit 1");
  EXPECT_TRUE(after_a_pause("7", 54, 57)) << "60 s less 4";
  EXPECT_TRUE(after_a_pause("", 54, 57)) << "no Slurm";
  write_squeue("exec sleep 20");
  EXPECT_TRUE(after_a_pause("7", 54, 57)) << "squeue hangs";
}

}  // namespace
}  // namespace maskedkd::testing
