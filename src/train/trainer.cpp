#include "maskedkd/train/trainer.hpp"

#include "maskedkd/base/log.hpp"
#include "maskedkd/base/progress.hpp"
#include "maskedkd/comm/mpi_session.hpp"
#include "maskedkd/comm/tree_all_reduce.hpp"
#include "maskedkd/train/gradient_norm.hpp"
#include "maskedkd/train/stop_signal.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <cmath>
#include <utility>

namespace maskedkd {
namespace {

constexpr const char* kTrainMoreGently = "lower --lr or clip gradients (--clip-grad 1); checkpoints are from before";

// What a rank adds to its losses in share().
enum Flag : std::size_t { flag_stop, flag_due, flag_busy, flag_failed, kNumFlags };

}  // namespace

// The loop. Everything that a step needs is a function of (seed, epoch, step, micro-batch); everything that it changes
// is in the checkpoint.
ExitCode Trainer::run() {
  const std::int64_t steps = sampler_.steps_per_epoch();
  bool stop = session_.any(stop_asked());  // a signal may have come while all this was read
  while (state_.epoch < options_.schedule.epochs && !stop) {
    begin_epoch();
    while (state_.step < steps && !stop) {
      const StepReport report = train_step();
      state_.epoch_loss_sum += report.loss_sum;
      ++state_.step;
      ++state_.global_step;
      ++steps_here_;
      stop = report.stop;
      if (report.checkpoint && !stop && state_.step < steps) {
        start_saving();
      }
    }
    if (state_.step == steps) {
      stop |= finish_epoch();
    }
  }
  progress_.reset();
  const bool saved = save_at_last(/*tries=*/state_.epoch < options_.schedule.epochs ? 2 : 5);
  session_.activity().now("ending the run", Activity::Pace::slow);
  tell_left_out();
  if (state_.epoch < options_.schedule.epochs || !saved) {
    spdlog::info("stopped after step {} (epoch {}, step {} of {}) {}{}", state_.global_step, state_.epoch, state_.step,
                 steps,
                 state_.global_step == 0 ? "with nothing to save yet"
                 : saved                 ? "with a checkpoint"
                                         : "without a new checkpoint",
                 at_time_limit() ? ", before the time limit" : "");
    show_status("stopped");
    // Asked to by a signal it may have had no time; one that stops by itself without a new checkpoint would so again.
    const bool in_vain = !session_.any(stop_requested()) && !(saved && steps_here_ > 0);
    folder_.end(status_, in_vain);
    session_.barrier();  // while a watchdog still looks at it
    return ExitCode::requeue;
  }
  try {
    folder_.write_finished(state_, status_.last_checkpoint);
  } catch (const Fenced&) {
    throw;
  } catch (const Error& error) {  // the next start finds all epochs done, and has only the mark to write
    throw Error(error.what(), error.hint(), ExitCode::requeue, error.where());
  }
  spdlog::info("finished: {} epochs, {} steps", state_.epoch, state_.global_step);
  show_status("finished");
  folder_.end(status_);
  session_.barrier();
  return ExitCode::finished;
}

Trainer::StepReport Trainer::train_step() {
  step_began_ = Clock::now();
  std::vector<double> losses;  // of this rank's micro-batches
  at::Tensor gradient;         // [P]
  if (options_.deterministic) {
    gradient = gradient_sum(share_.first, share_.last, losses);
    now("adding gradients");
    tree_all_reduce_sum(*communicator_, gradient);
  } else {
    gradient = at::zeros_like(parameters_.values());
    for (int micro_batch = share_.first; micro_batch < share_.last; ++micro_batch) {
      add_micro_batch(gradient, losses);
    }
    now("adding gradients");
    communicator_->all_reduce_sum(gradient);
  }
  now("telling losses");
  const StepReport report = share(losses);
  now("updating weights");
  apply(gradient);
  // A hiccup is forgotten in some hundred steps.
  longest_step_s_ = std::max(0.99 * longest_step_s_, std::chrono::duration<double>(Clock::now() - step_began_).count());
  return report;
}

// The first step of a process compiles, allocates and reads for the first time.
void Trainer::now(const char* what) const {
  session_.activity().now(fmt::format("step {}: {}", state_.global_step, what),
                          steps_here_ == 0 ? Activity::Pace::slow : Activity::Pace::usual);
}

// Halves of halves: with a power of two of ranks each rank's run is a subtree of the one tree over all micro-batches.
at::Tensor Trainer::gradient_sum(int first, int last, std::vector<double>& losses) {
  if (last - first == 1) {
    const at::Tensor gradient = at::zeros_like(parameters_.values());
    add_micro_batch(gradient, losses);
    return gradient;
  }
  const int middle = first + (last - first) / 2;
  at::Tensor sum = gradient_sum(first, middle, losses);
  return sum.add_(gradient_sum(middle, last, losses));
}

void Trainer::add_micro_batch(const at::Tensor& gradient, std::vector<double>& losses) {
  now("waiting for data");
  const std::optional<MicroBatch> batch = loader_->next();
  now("forward and backward");
  parameters_.bind_gradients(gradient);
  losses.push_back(distillation_.run(*batch, scaler_.scale()).item<double>());
}

// Every rank learns every loss, and whether anyone was asked to stop: all decide alike.
Trainer::StepReport Trainer::share(const std::vector<double>& losses) {
  const int per_step = options_.micro_batches_per_step();
  const auto places = static_cast<std::size_t>((per_step + session_.size() - 1) / session_.size());
  std::vector<double> mine = losses;
  mine.resize(places + kNumFlags, 0.0);
  const bool last_allowed = options_.stop_after_steps > 0 && steps_here_ + 1 >= options_.stop_after_steps;
  mine[places + flag_stop] = stop_asked() || last_allowed ? 1 : 0;
  mine[places + flag_due] = checkpoint_is_due() ? 1 : 0;
  mine[places + flag_busy] = saver_->busy() ? 1 : 0;
  mine[places + flag_failed] = std::exchange(save_failed_, false) ? 1 : 0;
  const std::vector<double> all = session_.all_gather(mine);
  folder_.check();
  StepReport report;
  int micro_batch = 0;
  bool busy = false;
  for (int rank = 0; rank < session_.size(); ++rank) {
    const double* row = &all[static_cast<std::size_t>(rank) * mine.size()];
    const MicroBatchShare share = micro_batch_share(per_step, rank, session_.size());
    for (int i = 0; i < share.last - share.first; ++i, ++micro_batch) {
      if (!std::isfinite(row[i])) {
        throw Error(fmt::format("the loss of micro-batch {} in step {} (epoch {}) is {}", micro_batch,
                                state_.global_step, state_.epoch, row[i]),
                    kTrainMoreGently, ExitCode::no_requeue);
      }
      report.loss_sum += row[i];
    }
    report.stop |= row[places + flag_stop] != 0;
    report.checkpoint |= rank == 0 && row[places + flag_due] != 0;  // clocks differ: rank 0's counts
    busy |= row[places + flag_busy] != 0;
    if (row[places + flag_failed] != 0) {
      settle(/*saved=*/false);
      saver_->cancel();  // it may wait for that rank's part
    }
  }
  if (report.checkpoint && busy && !report.stop) {
    note_left_out();
  }
  report.checkpoint &= !busy;
  show_progress(report.loss_sum / per_step);
  return report;
}

// From the sum of the micro-batches' gradients to new weights.
void Trainer::apply(at::Tensor& gradient) {
  const at::NoGradGuard no_grad;
  gradient.div_(options_.micro_batches_per_step() * scaler_.scale());
  const double norm = euclidean_norm(gradient);
  const bool finite = std::isfinite(norm);
  if (!finite && !scaler_.enabled()) {
    throw Error(fmt::format("the gradient of step {} (epoch {}) is not finite", state_.global_step, state_.epoch),
                kTrainMoreGently, ExitCode::no_requeue);
  }
  scaler_.update(finite);
  if (!finite) {
    spdlog::info("step {} left out: its gradient overflowed; the loss scale is {} now", state_.global_step,
                 scaler_.scale());
    if (scaler_.scale() < LossScaler::kSmallest) {
      throw Error(fmt::format("the gradient of step {} (epoch {}) is not finite at any loss scale", state_.global_step,
                              state_.epoch),
                  "train with --precision bf16, or lower --lr", ExitCode::no_requeue);
    }
    return;
  }
  if (options_.clip_gradient_norm > 0) {
    clip_to_norm(gradient, norm, options_.clip_gradient_norm);
  }
  optimizer_.step(gradient, learning_rate(state_.step));
  if (average_) {
    average_->update();
  }
}

double Trainer::learning_rate(std::int64_t step) const {
  return learning_rate_at(options_.schedule, sampler_.global_batch(), state_.epoch, step, sampler_.steps_per_epoch());
}

}  // namespace maskedkd
