// When a run has to stop: a signal came, the job's time is nearly up, or this start has done the steps that it was
// asked for (--stop-after-steps). Of one rank; the ranks combine their answers.
#pragma once

#include "maskedkd/train/job_clock.hpp"

#include <cstdint>

namespace maskedkd {

class StopPolicy {
 public:
  // clock: rank 0's has the time limit, the others' have none, as clocks differ. stop_after_steps: 0: never.
  StopPolicy(JobClock clock, std::int64_t stop_after_steps);

  void record_step(double seconds);
  // The longest that a checkpoint takes, as far as is known.
  void expect_save(double seconds) { save_s_ = seconds; }
  std::int64_t num_steps() const noexcept { return num_steps_; }  // recorded, of this process

  // Whether a signal came or the time is up: no time is left for a step, a checkpoint and what surrounds them.
  bool is_requested();
  bool is_signalled() const noexcept;
  // Whether the run stops after the step that is under way.
  bool is_requested_after_step();
  // Stays true once it was.
  bool is_at_time_limit();

 private:
  JobClock clock_;
  std::int64_t stop_after_steps_;
  std::int64_t num_steps_ = 0;
  double step_s_ = 0, save_s_ = 0;
  bool time_is_up_ = false;
};

}  // namespace maskedkd
