// Shows the progress of a run: the progress bar of an epoch, its rates, and the status for other programs
// (status.json). Belongs to one rank: each has its own rates, only rank 0 draws.
#pragma once

#include "maskedkd/base/progress.hpp"
#include "maskedkd/base/running_clock.hpp"
#include "maskedkd/train/run_folder.hpp"
#include "maskedkd/train/run_state.hpp"

#include <functional>
#include <memory>
#include <optional>
#include <string>

namespace maskedkd {

struct RunLength {
  std::int64_t epochs = 0;
  std::int64_t steps_per_epoch = 0;
  std::int64_t images_per_step = 0;
};

class RunDisplay {
 public:
  // publish: called with each new status. draws: whether this rank draws progress.
  RunDisplay(const RunLength& length, bool draws, std::function<void(const RunStatus&)> publish);

  // waited_s: seconds that this process has waited for data since it began.
  void begin_epoch(const RunState& state, double waited_s);
  // After the step state.step, before the state counts it.
  void show_step(const RunState& state, double loss, double learning_rate, double waited_s);
  void show(const RunState& state, const std::string& phase);  // "starting", "evaluating", "stopped", ...
  // name: the newest checkpoint's folder; empty: no checkpoint.
  void record_checkpoint(const std::string& name, std::int64_t seconds_since_1970);
  void end_progress();  // removes the bar and keeps the rates

  struct Rates {
    double images_per_second = 0;
    double waiting_share = 0;  // fraction of the time, for data
  };
  // Of this process in the epoch, after its last step; nullopt where it did no step of it.
  std::optional<Rates> epoch_rates(double waited_s) const;

  const RunStatus& status() const noexcept { return status_; }

 private:
  double epoch_seconds() const;

  RunLength length_;
  bool draws_;
  std::function<void(const RunStatus&)> publish_;
  RunStatus status_;
  std::unique_ptr<Progress> progress_;
  RunningClock::time_point epoch_began_ = RunningClock::now();
  std::int64_t epoch_first_step_ = 0;
  double waited_before_epoch_s_ = 0;
};

}  // namespace maskedkd
