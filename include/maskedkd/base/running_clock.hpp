// A clock that stands still while this process is stopped (SIGSTOP, SIGTSTP) and goes on with SIGCONT: scontrol
// suspend, qsig -s suspend, bstop, a shell's Ctrl-Z. Batch systems do not count that time against a job's limit, and it
// says nothing about how long a step or a save takes.
//
// A thread reads the time four times a second. Where SIGCONT has arrived since its last reading, only half a second of
// the time between counts. Without SIGCONT all of it counts: a busy machine, a frozen container.
#pragma once

#include <chrono>

namespace maskedkd {

struct RunningClock {
  using duration = std::chrono::steady_clock::duration;
  using rep = duration::rep;
  using period = duration::period;
  using time_point = std::chrono::time_point<RunningClock>;
  static constexpr bool is_steady = true;

  static time_point now() noexcept;
  static duration stopped() noexcept;  // for how long this process has been stopped so far

  // From now on stops are noticed; before, it is a steady_clock. Called by main before any other thread is started:
  // SIGCONT is blocked in this thread and all later ones, and received by the clock's own thread. It continues a
  // stopped process all the same.
  static void start();
};

}  // namespace maskedkd
