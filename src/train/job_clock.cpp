#include "maskedkd/train/job_clock.hpp"

#include "maskedkd/base/log.hpp"
#include "maskedkd/train/slurm_end.hpp"

#include <utility>

namespace maskedkd {

JobClock::JobClock(TimeLimit limit, std::string slurm_job)
    : limit_(std::move(limit)), slurm_job_(std::move(slurm_job)) {}

bool JobClock::within(double seconds) {
  note_stop();
  take_answer();
  return limit_.within(seconds);
}

void JobClock::note_stop() {
  const RunningClock::duration stopped = RunningClock::stopped();
  if (stopped == stopped_) {
    return;
  }
  const double pause_s = std::chrono::duration<double>(stopped - stopped_).count();
  stopped_ = stopped;
  if (!limit_.seconds_left()) {
    return;
  }
  const bool asks = limit_.is_end_of_job() && !slurm_job_.empty();
  spdlog::info("this process was stopped for {:.0f} s, which does not count against its time limit{}", pause_s,
               asks ? "; Slurm is asked when the job ends now" : "");
  if (asks) {
    asked_ = ask_slurm_for_end(slurm_job_);
  }
}

void JobClock::take_answer() {
  if (!asked_.valid() || asked_.wait_for(std::chrono::seconds(0)) != std::future_status::ready) {
    return;
  }
  const std::optional<double> end = asked_.get();
  if (!end) {
    spdlog::warn("squeue does not say when this job ends now; {:.0f} s are taken to be left",
                 limit_.seconds_left().value_or(0));
    return;
  }
  limit_.end_at(*end);
  if (const std::optional<double> left = limit_.seconds_left()) {
    spdlog::info("the job ends in {:.0f} s, as Slurm says", *left);
  } else {
    spdlog::info("the job has no time limit any more, as Slurm says");
  }
}

}  // namespace maskedkd
