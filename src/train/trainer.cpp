#include "maskedkd/train/trainer.hpp"

#include "maskedkd/base/log.hpp"
#include "maskedkd/base/progress.hpp"
#include "maskedkd/comm/gradient_reducer.hpp"
#include "maskedkd/comm/mpi_session.hpp"
#include "maskedkd/train/evaluator.hpp"
#include "maskedkd/train/stop_signal.hpp"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/zeros_like.h>
#include <nlohmann/json.hpp>

#include <array>
#include <cmath>

namespace maskedkd {

using Clock = std::chrono::steady_clock;

// The loop. Everything that a step needs is a function of (seed, epoch, step, micro-batch); everything that it changes is in
// the checkpoint.
ExitCode Trainer::run() {
  const std::int64_t steps = sampler_.steps_per_epoch();
  while (state_.epoch < options_.schedule.epochs) {
    while (state_.step < steps) {
      const StepReport report = train_step();
      state_.epoch_loss_sum += report.loss_sum;
      ++state_.step;
      ++state_.global_step;
      ++steps_here_;
      if (report.stop || report.checkpoint) {
        save();
      }
      if (report.stop) {
        spdlog::info("stopped after step {} with a checkpoint", state_.global_step);
        return ExitCode::requeue;
      }
    }
    finish_epoch();
  }
  spdlog::info("finished: {} epochs, {} steps", state_.epoch, state_.global_step);
  return ExitCode::finished;
}

Trainer::StepReport Trainer::train_step() {
  std::vector<double> losses;  // of this rank's micro-batches
  at::Tensor gradient;         // [P]
  if (options_.deterministic) {
    gradient = gradient_sum(first_micro_batch_, last_micro_batch_, losses);
    tree_all_reduce_sum(*communicator_, gradient);
  } else {
    gradient = at::zeros_like(parameters_.values());
    for (int micro_batch = first_micro_batch_; micro_batch < last_micro_batch_; ++micro_batch) {
      add_micro_batch(gradient, losses);
    }
    communicator_->all_reduce_sum(gradient);
  }
  const StepReport report = share(losses);
  apply(gradient);
  return report;
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
  const std::optional<MicroBatch> batch = loader_->next();
  parameters_.bind_gradients(gradient);
  losses.push_back(distillation_.run(*batch, scaler_.scale()).item<double>());
}

// Every rank learns every loss, and whether anyone was asked to stop: all decide alike.
Trainer::StepReport Trainer::share(const std::vector<double>& losses) {
  const int per_step = options_.micro_batches_per_step();
  const auto places = static_cast<std::size_t>((per_step + session_.size() - 1) / session_.size());
  std::vector<double> mine = losses;
  mine.resize(places + 2, 0.0);
  const bool last_allowed = options_.stop_after_steps > 0 && steps_here_ + 1 >= options_.stop_after_steps;
  mine[places] = stop_requested() || last_allowed ? 1 : 0;
  const std::int64_t step = state_.global_step + 1;
  const double minutes = std::chrono::duration<double>(Clock::now() - last_saved_).count() / 60;
  mine[places + 1] = (options_.checkpoint_steps > 0 && step % options_.checkpoint_steps == 0) ||
                             (options_.checkpoint_minutes > 0 && minutes >= options_.checkpoint_minutes)
                         ? 1
                         : 0;
  const std::vector<double> all = session_.all_gather(mine);
  StepReport report;
  int micro_batch = 0;
  for (int rank = 0; rank < session_.size(); ++rank) {
    const double* row = &all[static_cast<std::size_t>(rank) * mine.size()];
    const int count = per_step * (rank + 1) / session_.size() - per_step * rank / session_.size();
    for (int i = 0; i < count; ++i, ++micro_batch) {
      if (!std::isfinite(row[i])) {
        throw Error(fmt::format("the loss of micro-batch {} in step {} (epoch {}) is {}", micro_batch, state_.global_step,
                                state_.epoch, row[i]),
                    "lower --lr or clip gradients (--clip-grad 1); the last checkpoint is from before",
                    ExitCode::no_requeue);
      }
      report.loss_sum += row[i];
    }
    report.stop |= row[places] != 0;
    report.checkpoint |= rank == 0 && row[places + 1] != 0;  // clocks differ: rank 0's counts
  }
  if (progress_) {
    const double epoch_s = std::chrono::duration<double>(Clock::now() - epoch_began_).count();
    progress_->update((state_.step + 1) * sampler_.global_batch(),
                      fmt::format("loss {:.4f}  lr {:.2e}  waiting for data {:.0f} %", report.loss_sum / per_step,
                                  learning_rate(), 100 * (loader_->seconds_waited() - epoch_waited_before_s_) / epoch_s));
  }
  return report;
}

// From the sum of the micro-batches' gradients to new weights.
void Trainer::apply(at::Tensor& gradient) {
  const at::NoGradGuard no_grad;
  gradient.div_(options_.micro_batches_per_step() * scaler_.scale());
  const double norm = gradient.norm().item<double>();
  const bool finite = std::isfinite(norm);
  if (!finite && !scaler_.enabled()) {
    throw Error(fmt::format("the gradient of step {} (epoch {}) is not finite", state_.global_step, state_.epoch),
                "lower --lr or clip gradients (--clip-grad 1); the last checkpoint is from before", ExitCode::no_requeue);
  }
  scaler_.update(finite);
  if (!finite) {
    return;
  }
  if (options_.clip_gradient_norm > 0 && norm > options_.clip_gradient_norm) {
    gradient.mul_(options_.clip_gradient_norm / (norm + 1e-6));
  }
  optimizer_.step(gradient, learning_rate());
  if (average_) {
    average_->update();
  }
}

double Trainer::learning_rate() const {
  return learning_rate_at(options_.schedule, sampler_.global_batch(), state_.epoch, state_.step, sampler_.steps_per_epoch());
}

void Trainer::finish_epoch() {
  const std::int64_t steps = sampler_.steps_per_epoch();
  const double seconds = std::chrono::duration<double>(Clock::now() - epoch_began_).count();
  const double waited = loader_ ? loader_->seconds_waited() - epoch_waited_before_s_ : 0.0;
  progress_.reset();
  --state_.step;  // the last step's rate
  nlohmann::ordered_json line = {
      {"train_lr", learning_rate()},
      {"train_loss", state_.epoch_loss_sum / static_cast<double>(steps * options_.micro_batches_per_step())}};
  ++state_.step;

  bool is_best = false;
  if (eval_set_) {
    EvaluationOptions how;
    how.augment = options_.augment;
    how.batch = options_.eval_batch;
    how.num_workers = options_.num_workers;
    how.prefetch = options_.prefetch;
    how.compute_dtype = scalar_type(options_.precision);
    const EvaluationResult result = evaluate(session_, student_, device_, *eval_set_, how, "evaluating");
    line["test_loss"] = result.loss;
    line["test_acc1"] = result.accuracy_top1;
    line["test_acc5"] = result.accuracy_top5;
    if (average_) {
      const at::NoGradGuard no_grad;
      const at::Tensor trained = parameters_.values().clone();
      parameters_.values().copy_(average_->values());
      const EvaluationResult averaged = evaluate(session_, student_, device_, *eval_set_, how, "evaluating the average");
      parameters_.values().copy_(trained);
      line["test_ema_acc1"] = averaged.accuracy_top1;
      line["test_ema_acc5"] = averaged.accuracy_top5;
    }
    is_best = result.accuracy_top1 > state_.best_accuracy;
    if (is_best) {
      state_.best_accuracy = result.accuracy_top1;
      state_.best_epoch = state_.epoch;
      state_.best_step = state_.global_step;
    }
  }
  line["epoch"] = state_.epoch;
  line["n_parameters"] = student_.num_parameters();
  const std::int64_t steps_timed = steps - epoch_first_step_;
  if (steps_timed > 0) {
    line["images_per_second"] = static_cast<double>(steps_timed * sampler_.global_batch()) / seconds;
    line["waiting_share"] = waited / seconds;
  }
  if (teacher_) {
    line["kept_patches"] = options_.resolved_keep();
  }
  state_.history.push_back(line.dump());
  spdlog::info("epoch {}: {}", state_.epoch,
               fmt::format("train loss {:.4f}{}{}", line["train_loss"].get<double>(),
                           eval_set_ ? fmt::format(", test acc@1 {:.2f} %, acc@5 {:.2f} %, loss {:.4f}", line["test_acc1"].get<double>(),
                                                   line["test_acc5"].get<double>(), line["test_loss"].get<double>())
                                     : "",
                           steps_timed > 0 ? fmt::format(", {:.0f} images/s", line["images_per_second"].get<double>()) : ""));
  ++state_.epoch;
  state_.step = 0;
  state_.epoch_loss_sum = 0;
  save();
  write_log();
  epoch_began_ = Clock::now();
  epoch_first_step_ = 0;
  epoch_waited_before_s_ = loader_ ? loader_->seconds_waited() : 0.0;
  if (state_.epoch < options_.schedule.epochs) {
    progress_ = std::make_unique<Progress>(fmt::format("epoch {}/{}", state_.epoch + 1, options_.schedule.epochs), "img",
                                           steps * sampler_.global_batch(), session_.rank() == 0);
    progress_->update(0, "");
  }
}

}  // namespace maskedkd
