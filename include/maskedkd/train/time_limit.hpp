// When a job has to stop by itself, so that its last checkpoint is complete before the cluster ends the job.
#pragma once

#include "maskedkd/base/running_clock.hpp"

#include <chrono>
#include <functional>
#include <optional>
#include <string>

namespace maskedkd {

class TimeLimit {
 public:
  using Environment = std::function<std::string(const char* name)>;  // the variable's text, empty where unset

  // text: "none"; "auto": the job's end from MASKEDKD_JOB_END (set by the job scripts) or Slurm's SLURM_JOB_END_TIME,
  // in seconds since 1970, no limit where neither is set; or a time from now in Slurm's notation: "90" (minutes),
  // "90:00", "1:30:00", "2-0", "2-12:30". The wall clock is read only once: later jumps change nothing. Time in which
  // this process is stopped does not count. Throws Error (usage).
  TimeLimit(const std::string& text, const Environment& environment);

  std::optional<double> seconds_left() const;  // nullopt: no limit
  // Whether less than that is left; false where there is no limit.
  bool has_less_than(double seconds) const;

  // Whether it is the end of a job, which the cluster may move.
  bool is_end_of_job() const noexcept { return is_end_of_job_; }
  // Moves the job's end. Infinity: there is no limit any more; a time in the past changes nothing.
  void end_at(double seconds_since_1970);
  // One line about an end of the job that lies in the past and is ignored; empty: there was no such end.
  const std::string& past_end_warning() const noexcept { return past_end_warning_; }

 private:
  void end_in(double seconds);

  std::optional<std::chrono::time_point<RunningClock, std::chrono::duration<double>>> end_;
  bool is_end_of_job_ = false;
  std::string past_end_warning_;
};

}  // namespace maskedkd
