#include "maskedkd/train/run_display.hpp"

#include <fmt/format.h>

#include <chrono>
#include <utility>

namespace maskedkd {

RunDisplay::RunDisplay(const RunLength& length, bool draws, std::function<void(const RunStatus&)> publish)
    : length_(length), draws_(draws), publish_(std::move(publish)) {
  status_.epochs = length.epochs;
  status_.steps = length.epochs * length.steps_per_epoch;
}

void RunDisplay::begin_epoch(const RunState& state, double waited_s) {
  epoch_began_ = RunningClock::now();
  epoch_first_step_ = state.step;
  waited_before_epoch_s_ = waited_s;
  progress_ = std::make_unique<Progress>(fmt::format("epoch {}/{}", state.epoch + 1, length_.epochs), "img",
                                         length_.steps_per_epoch * length_.images_per_step, draws_);
  progress_->update(state.step * length_.images_per_step, "");
}

void RunDisplay::show_step(const RunState& state, double loss, double learning_rate, double waited_s) {
  show(state, "running");
  progress_->update(state.step * length_.images_per_step,
                    fmt::format("loss {:.4f}  lr {:.2e}  waiting for data {:.0f} %", loss, learning_rate,
                                100 * (waited_s - waited_before_epoch_s_) / epoch_seconds()));
}

void RunDisplay::show(const RunState& state, const std::string& phase) {
  status_.state = phase;
  status_.epoch = state.epoch;
  status_.step = state.global_step;
  const std::int64_t timed = state.step - epoch_first_step_;
  if (progress_ && timed > 0) {  // the rates stay after an epoch's last step
    const double seconds = epoch_seconds();
    status_.images_per_second = static_cast<double>(timed * length_.images_per_step) / seconds;
    status_.eta_s = seconds / static_cast<double>(timed) * static_cast<double>(status_.steps - status_.step);
  }
  publish_(status_);
}

void RunDisplay::record_checkpoint(const std::string& name, std::int64_t seconds_since_1970) {
  if (!name.empty()) {
    status_.last_checkpoint = name;
    status_.last_checkpoint_time = seconds_since_1970;
  }
}

void RunDisplay::end_progress() { progress_.reset(); }

std::optional<RunDisplay::Rates> RunDisplay::epoch_rates(double waited_s) const {
  const std::int64_t timed = length_.steps_per_epoch - epoch_first_step_;
  if (timed <= 0) {
    return std::nullopt;
  }
  const double seconds = epoch_seconds();
  return Rates{static_cast<double>(timed * length_.images_per_step) / seconds,
               (waited_s - waited_before_epoch_s_) / seconds};
}

double RunDisplay::epoch_seconds() const {
  return std::chrono::duration<double>(RunningClock::now() - epoch_began_).count();
}

}  // namespace maskedkd
