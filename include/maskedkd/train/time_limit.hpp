// When a job has to stop by itself, so that its last checkpoint is whole before the cluster ends it.
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <string>

namespace maskedkd {

class TimeLimit {
 public:
  // text: "none"; "auto": the job's end as the environment has it, MASKEDKD_JOB_END (set by the job scripts) or Slurm's
  // own SLURM_JOB_END_TIME, in seconds since 1970, none where neither is set; or a time from now as Slurm writes it:
  // "90" (minutes), "90:00", "1:30:00", "2-0", "2-12:30". The wall clock is asked once: jumps change nothing later.
  // environment(name): the variable's text, empty where unset. Throws Error (usage).
  TimeLimit(const std::string& text, const std::function<std::string(const char*)>& environment);

  std::optional<double> seconds_left() const;  // nullopt: no limit
  // Whether less than that is left.
  bool within(double seconds) const;

 private:
  std::optional<std::chrono::steady_clock::time_point> end_;
};

}  // namespace maskedkd
