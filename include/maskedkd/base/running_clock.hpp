// A clock that stands still while this process is stopped (SIGSTOP, SIGTSTP) and goes on with SIGCONT: scontrol
// suspend, qsig -s suspend, bstop, a shell's Ctrl-Z. Batch systems do not count that time against a job's limit, and it
// says nothing about how long a step or a save takes.
//
// A thread looks at the time four times a second. Where SIGCONT has come since its last look, of what passed only half
// a second counts. Without SIGCONT everything counts: what a busy machine takes from this thread, a frozen container.
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

  // From now on stops are noticed; before, it is a steady_clock. By main, before any other thread is started: SIGCONT
  // is blocked in this thread and in all that follow, and taken by the clock's own. Stopped processes go on all the
  // same.
  static void start();
};

}  // namespace maskedkd
