// What happens around an epoch's steps: progress, evaluation, the log, a checkpoint.
#include "maskedkd/base/log.hpp"
#include "maskedkd/base/progress.hpp"
#include "maskedkd/base/running_clock.hpp"
#include "maskedkd/comm/mpi_session.hpp"
#include "maskedkd/train/evaluator.hpp"
#include "maskedkd/train/stop_signal.hpp"
#include "maskedkd/train/trainer.hpp"

#include <ATen/core/grad_mode.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <numeric>

namespace maskedkd {
namespace {

double seconds_since(RunningClock::time_point time) {
  return std::chrono::duration<double>(RunningClock::now() - time).count();
}

}  // namespace

void Trainer::begin_epoch() {
  epoch_clock_ = {Clock::now(), state_.step, loader_->counts().seconds_waited};
  progress_ = std::make_unique<Progress>(fmt::format("epoch {}/{}", state_.epoch + 1, options_.schedule.epochs), "img",
                                         sampler_.steps_per_epoch() * sampler_.global_batch(), session_.rank() == 0);
  progress_->update(state_.step * sampler_.global_batch(), "");
}

void Trainer::show_progress(double loss) {
  const double waited = loader_->counts().seconds_waited - epoch_clock_.waited_before_s;
  show_status("running");
  progress_->update((state_.step + 1) * sampler_.global_batch(),
                    fmt::format("loss {:.4f}  lr {:.2e}  waiting for data {:.0f} %", loss, learning_rate(state_.step),
                                100 * waited / seconds_since(epoch_clock_.began)));
}

// One line of log.txt an epoch, with DeiT's keys and ours.
bool Trainer::finish_epoch() {
  const std::int64_t steps = sampler_.steps_per_epoch();
  const double seconds = seconds_since(epoch_clock_.began);
  const double waited = loader_->counts().seconds_waited - epoch_clock_.waited_before_s;
  progress_.reset();
  const double loss = state_.epoch_loss_sum / static_cast<double>(steps * options_.micro_batches_per_step());
  nlohmann::ordered_json line = {{"train_lr", learning_rate(steps - 1)}, {"train_loss", loss}};
  std::string told = fmt::format("train loss {:.4f}", loss);
  if (eval_set_) {
    start_saving();  // an evaluation is long, and may not come to its end
    show_status("evaluating");
    const std::optional<EvaluationResult> evaluated = evaluate_student("evaluating");
    if (!evaluated) {
      return true;
    }
    const EvaluationResult& result = *evaluated;
    line["test_loss"] = result.loss;
    line["test_acc1"] = result.accuracy_top1;
    line["test_acc5"] = result.accuracy_top5;
    told += fmt::format(", test acc@1 {:.2f} %, acc@5 {:.2f} %, loss {:.4f}", result.accuracy_top1,
                        result.accuracy_top5, result.loss);
    if (average_) {
      const at::NoGradGuard no_grad;
      const at::Tensor trained = parameters_.values().clone();
      parameters_.values().copy_(average_->values());
      const std::optional<EvaluationResult> averaged = evaluate_student("evaluating the average");
      parameters_.values().copy_(trained);
      if (!averaged) {
        return true;
      }
      line["test_ema_acc1"] = averaged->accuracy_top1;
      line["test_ema_acc5"] = averaged->accuracy_top5;
      told += fmt::format(", of the average {:.2f} %", averaged->accuracy_top1);
    }
    evaluated_ = {result.accuracy_top1, state_.epoch, state_.global_step};
  }
  line["epoch"] = state_.epoch;
  line["n_parameters"] = student_.num_parameters();
  if (const std::int64_t timed = steps - epoch_clock_.first_step; timed > 0) {
    line["images_per_second"] = static_cast<double>(timed * sampler_.global_batch()) / seconds;
    line["waiting_share"] = waited / seconds;
    told += fmt::format(", {:.0f} images/s", line["images_per_second"].get<double>());
  }
  if (options_.bad_records_limit > 0) {
    const std::vector<double> bad = session_.all_gather(std::array{static_cast<double>(loader_->counts().bad_records)});
    line["bad_records"] =
        static_cast<std::int64_t>(std::accumulate(bad.begin(), bad.end(), 0.0));  // a rank's each, since its start
  }
  if (teacher_) {
    line["kept_patches"] = distillation_.kept_patches(state_.epoch);
  }
  state_.history.push_back(line.dump());
  spdlog::info("epoch {}: {}", state_.epoch + 1, told);
  ++state_.epoch;
  state_.step = 0;
  state_.epoch_loss_sum = 0;
  start_saving();
  session_.activity().now("writing log.txt", Activity::Pace::slow);
  folder_.write_log(state_.history);
  return session_.any(stop_asked());
}

// The time limit is rank 0's: clocks differ.
bool Trainer::at_time_limit() {
  constexpr double kToEnd = 15;  // seconds for what surrounds a step and a save
  // Once and for all: what a save takes is estimated anew by each.
  time_is_up_ |= session_.rank() == 0 && job_clock_.within(2 * longest_step_s_ + 2 * longest_save_s_ + kToEnd);
  return time_is_up_;
}

bool Trainer::stop_asked() { return stop_requested() || at_time_limit(); }

void Trainer::show_status(const std::string& state) {
  const std::int64_t steps = sampler_.steps_per_epoch();
  status_.state = state;
  status_.epoch = state_.epoch;
  status_.epochs = options_.schedule.epochs;
  status_.step = state_.global_step;
  status_.steps = options_.schedule.epochs * steps;
  const std::int64_t timed = state_.step - epoch_clock_.first_step;
  if (timed > 0) {
    const double seconds = seconds_since(epoch_clock_.began);
    status_.images_per_second = static_cast<double>(timed * sampler_.global_batch()) / seconds;
    status_.eta_s = seconds / static_cast<double>(timed) * static_cast<double>(status_.steps - status_.step);
  }
  folder_.show(status_);
}

std::optional<EvaluationResult> Trainer::evaluate_student(const std::string& title) {
  EvaluationOptions how;
  how.augment = options_.augment;
  how.batch = options_.eval_batch;
  how.num_workers = options_.num_workers;
  how.prefetch = options_.prefetch > 0 ? options_.prefetch : how.prefetch;
  how.bad_records_limit = options_.bad_records_limit;
  how.stop = [this] { return stop_asked(); };
  how.compute_dtype = scalar_type(options_.precision);
  return evaluate(session_, student_, device_, *eval_set_, how, title);
}

}  // namespace maskedkd
