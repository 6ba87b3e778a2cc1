// What RunningClock counts in a process that is stopped and resumed while another one measures the time.
#include "maskedkd/base/running_clock.hpp"

#include "support/stopped_child.hpp"

#include <gtest/gtest.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#include <cstdio>
#include <filesystem>
#include <string>

namespace maskedkd::testing {
namespace {

using Seconds = std::chrono::duration<double>;

// What RunningClock returned in so many seconds of steady_clock, when read as often as possible.
struct Readings {
  double passed_s = 0, ran_s = 0, stopped_s = 0, longest_run_s = 0;
  bool in_order = true;
};

Readings read_for(double seconds) {
  RunningClock::start();
  Readings readings;
  const auto steady_began = std::chrono::steady_clock::now();
  const auto began = RunningClock::now();
  auto last = began;
  while (readings.passed_s < seconds) {
    const auto now = RunningClock::now();
    readings.in_order = readings.in_order && now >= last;
    readings.longest_run_s = std::max(readings.longest_run_s, Seconds(now - last).count());
    last = now;
    readings.passed_s = Seconds(std::chrono::steady_clock::now() - steady_began).count();
  }
  readings.ran_s = Seconds(last - began).count();
  readings.stopped_s = Seconds(RunningClock::stopped()).count();
  std::fprintf(stderr, "passed %.2f s, ran %.2f s, was stopped for %.2f s, largest jump %.2f s\n", readings.passed_s,
               readings.ran_s, readings.stopped_s, readings.longest_run_s);
  return readings;
}

TEST(RunningClock, DoesNotAdvanceWhileTheProcessIsStopped) {
  EXPECT_TRUE(in_child(
      [] {
        const Readings readings = read_for(5.5);
        // No reading counts the pause, not even the first one after it, taken before the clock's thread has run.
        return readings.in_order && readings.longest_run_s < 1 && readings.stopped_s > 3.3 &&
               readings.stopped_s < 4.2 && readings.ran_s > 1 && readings.ran_s < 2.2;
      },
      [](pid_t child) {
        usleep(700'000);
        stop_for(child, 4000);
      }));
}

TEST(RunningClock, NoticesEachOfManyStops) {
  EXPECT_TRUE(in_child(
      [] {
        const Readings readings = read_for(6);
        return readings.in_order && readings.longest_run_s < 1 && readings.stopped_s > 2 && readings.stopped_s < 4.6;
      },
      [](pid_t child) {
        for (int i = 0; i < 4; ++i) {
          usleep(300'000);
          stop_for(child, 1100);
        }
      }));
}

// When a preemption begins, Slurm sends SIGCONT to running steps.
TEST(RunningClock, CountsAllTimeIfNothingWasStopped) {
  EXPECT_TRUE(in_child(
      [] {
        const Readings readings = read_for(2);
        return readings.in_order && readings.stopped_s < 0.3 && readings.ran_s > 1.7;
      },
      [](pid_t child) {
        for (int i = 0; i < 15; ++i) {
          usleep(100'000);
          kill(child, SIGCONT);
        }
      }));
}

// Only the clock's thread is held, by ptrace, as on a busy machine.
TEST(RunningClock, CountsTimeInWhichItsThreadIsNotScheduled) {
  bool held = false;
  EXPECT_TRUE(in_child(
      [] {
        const Readings readings = read_for(4);
        return readings.in_order && readings.stopped_s == 0 && readings.ran_s > 3.5;
      },
      [&](pid_t child) {
        usleep(500'000);
        pid_t thread = 0;
        for (const auto& task : std::filesystem::directory_iterator("/proc/" + std::to_string(child) + "/task")) {
          thread = std::max(thread, std::stoi(task.path().filename()));
        }
        held = ptrace(PTRACE_SEIZE, thread, nullptr, nullptr) == 0 &&
               ptrace(PTRACE_INTERRUPT, thread, nullptr, nullptr) == 0;
        if (held) {
          EXPECT_EQ(waitpid(thread, nullptr, __WALL), thread);
          usleep(2'000'000);
          EXPECT_EQ(ptrace(PTRACE_DETACH, thread, nullptr, nullptr), 0);
        }
      }));
  if (!held) {
    GTEST_SKIP() << "ptrace is not permitted here";
  }
}

TEST(RunningClock, IsASteadyClockIfItWasNotStarted) {
  const auto began = RunningClock::now();
  usleep(700'000);
  EXPECT_NEAR(Seconds(RunningClock::now() - began).count(), 0.7, 0.2);
  EXPECT_EQ(RunningClock::stopped(), RunningClock::duration::zero());
}

}  // namespace
}  // namespace maskedkd::testing
