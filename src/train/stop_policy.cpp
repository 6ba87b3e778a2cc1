#include "maskedkd/train/stop_policy.hpp"

#include "maskedkd/train/stop_signal.hpp"

#include <algorithm>
#include <utility>

namespace maskedkd {

StopPolicy::StopPolicy(JobClock clock, std::int64_t stop_after_steps)
    : clock_(std::move(clock)), stop_after_steps_(stop_after_steps) {}

void StopPolicy::record_step(double seconds) {
  ++num_steps_;
  step_s_ = std::max(0.99 * step_s_, seconds);  // a single long step loses its effect within some hundred others
}

bool StopPolicy::is_requested() { return is_signalled() || is_at_time_limit(); }

bool StopPolicy::is_signalled() const noexcept { return stop_requested(); }

bool StopPolicy::is_requested_after_step() {
  return is_requested() || (stop_after_steps_ > 0 && num_steps_ + 1 >= stop_after_steps_);
}

bool StopPolicy::is_at_time_limit() {
  constexpr double kMargin_s = 15;
  time_is_up_ = time_is_up_ || clock_.has_less_than(2 * step_s_ + 2 * save_s_ + kMargin_s);
  return time_is_up_;
}

}  // namespace maskedkd
