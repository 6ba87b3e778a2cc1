// Decides when a run has to stop: after a signal, when the job's time is nearly up, or after the steps of
// --stop-after-steps. Belongs to one rank; the ranks combine their answers.
#pragma once

#include "maskedkd/train/job_clock.hpp"

#include <cstdint>

namespace maskedkd {

class StopPolicy {
 public:
  // clock: only rank 0's has the time limit, as clocks differ. stop_after_steps: 0: never.
  StopPolicy(JobClock clock, std::int64_t stop_after_steps);

  void record_step(double seconds);
  // seconds: the longest time that a checkpoint is known to take.
  void expect_save(double seconds) { save_s_ = seconds; }
  std::int64_t num_steps() const noexcept { return num_steps_; }  // recorded, of this process

  // Whether a signal came or the time is up: too little is left for a step, a checkpoint and a margin.
  bool is_requested();
  bool is_signalled() const noexcept;
  // Whether the run stops after the current step.
  bool is_requested_after_step();
  // Stays true once it was true.
  bool is_at_time_limit();

 private:
  JobClock clock_;
  std::int64_t stop_after_steps_;
  std::int64_t num_steps_ = 0;
  double step_s_ = 0, save_s_ = 0;
  bool time_is_up_ = false;
};

}  // namespace maskedkd
