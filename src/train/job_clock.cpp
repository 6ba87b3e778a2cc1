#include "maskedkd/train/job_clock.hpp"

#include "maskedkd/base/log.hpp"
#include "maskedkd/train/slurm_end.hpp"

#include <utility>

namespace maskedkd {

JobClock::JobClock(TimeLimit limit, std::string slurm_job)
    : limit_(std::move(limit)), slurm_job_(std::move(slurm_job)) {}

bool JobClock::has_less_than(double seconds) {
  check_for_pause();
  receive_answer();
  return limit_.has_less_than(seconds);
}

void JobClock::check_for_pause() {
  const RunningClock::duration stopped = RunningClock::stopped();
  if (stopped == stopped_) {
    return;
  }
  const double pause_s = std::chrono::duration<double>(stopped - stopped_).count();
  stopped_ = stopped;
  if (!limit_.seconds_left()) {
    return;
  }
  const bool asks_slurm = limit_.is_end_of_job() && !slurm_job_.empty();
  spdlog::info("this process was stopped for {:.0f} s, which does not count against its time limit{}", pause_s,
               asks_slurm ? "; asking Slurm for the new end of the job" : "");
  if (asks_slurm) {
    answer_ = ask_slurm_for_end(slurm_job_);
  }
}

void JobClock::receive_answer() {
  if (!answer_.valid() || answer_.wait_for(std::chrono::seconds(0)) != std::future_status::ready) {
    return;
  }
  const std::optional<double> end = answer_.get();
  if (!end) {
    spdlog::warn("squeue did not report when this job ends; {:.0f} s are assumed to be left",
                 limit_.seconds_left().value_or(0));
    return;
  }
  limit_.end_at(*end);
  if (const std::optional<double> left = limit_.seconds_left()) {
    spdlog::info("the job ends in {:.0f} s, according to Slurm", *left);
  } else {
    spdlog::info("the job has no time limit any more, according to Slurm");
  }
}

}  // namespace maskedkd
