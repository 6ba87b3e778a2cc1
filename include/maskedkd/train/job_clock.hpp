// The time limit of a run whose job may be suspended and resumed. Where the limit is the end of a Slurm job, Slurm
// delays it by the pause. RunningClock measures the pause only roughly, so Slurm is asked. For one thread; never
// blocks.
#pragma once

#include "maskedkd/train/time_limit.hpp"

#include <future>
#include <optional>
#include <string>

namespace maskedkd {

class JobClock {
 public:
  // slurm_job: SLURM_JOB_ID; empty: Slurm can't be asked.
  JobClock(TimeLimit limit, std::string slurm_job);

  // Whether less than that is left of the time limit. Also checks for a pause of this process and for Slurm's answer,
  // and logs them.
  bool has_less_than(double seconds);

 private:
  void check_for_pause();
  void receive_answer();

  TimeLimit limit_;
  std::string slurm_job_;
  RunningClock::duration stopped_ = RunningClock::stopped();  // the part that is already accounted for
  std::future<std::optional<double>> answer_;                 // when the job ends
};

}  // namespace maskedkd
