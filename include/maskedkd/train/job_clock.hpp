// The time limit of a run whose job may be suspended and resumed. Where the limit is the end of a Slurm job, Slurm
// moves it by the pause; RunningClock knows the pause only nearly, so that Slurm is asked. For one thread; nothing
// waits.
#pragma once

#include "maskedkd/train/time_limit.hpp"

#include <future>
#include <optional>
#include <string>

namespace maskedkd {

class JobClock {
 public:
  // slurm_job: SLURM_JOB_ID; empty: nobody can be asked.
  JobClock(TimeLimit limit, std::string slurm_job);

  // Whether less than that is left. Looks whether this process was stopped since the last call, and whether Slurm has
  // answered, and says what came of it.
  bool within(double seconds);

 private:
  void note_stop();
  void take_answer();

  TimeLimit limit_;
  std::string slurm_job_;
  RunningClock::duration stopped_ = RunningClock::stopped();  // as far as it is noted
  std::future<std::optional<double>> asked_;                  // when the job ends
};

}  // namespace maskedkd
