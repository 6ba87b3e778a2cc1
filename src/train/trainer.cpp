#include "maskedkd/train/trainer.hpp"

#include "maskedkd/base/log.hpp"
#include "maskedkd/base/running_clock.hpp"
#include "maskedkd/comm/mpi_session.hpp"

#include <ATen/core/Tensor.h>
#include <nlohmann/json.hpp>

#include <array>
#include <chrono>
#include <numeric>
#include <utility>

namespace maskedkd {
namespace {

constexpr const char* kDivergenceHint =
    "lower --lr or clip gradients (--clip-grad 1); existing checkpoints predate this step";

}  // namespace

// A step needs only functions of (seed, epoch, step, micro-batch), and all that it changes is in the checkpoint.
ExitCode Trainer::run() {
  const std::int64_t steps = plan_.sampler.steps_per_epoch();
  bool stop = session_.any(stop_requested());  // a signal may have come during the construction
  while (!is_done() && !stop) {
    display_.begin_epoch(state_, feed_->loader().counts().seconds_waited);
    while (state_.step < steps && !stop) {
      stop = train_step();
    }
    if (state_.step == steps) {
      stop |= finish_epoch();
    }
  }
  return end_run();
}

bool Trainer::train_step() {
  const auto began = RunningClock::now();
  queue_step();
  const StepReport report = exchange_report(results_.capacity());
  stop_.record_step(std::chrono::duration<double>(RunningClock::now() - began).count());
  if (report.checkpoint_due && !report.saving && !report.stop && state_.step < plan_.sampler.steps_per_epoch()) {
    start_checkpoint();
  }
  return report.stop;
}

// Everything that the device does in a step.
void Trainer::queue_step() {
  std::vector<at::Tensor> losses;  // of this rank's micro-batches
  distillation_.read_weights();
  const at::Tensor gradient =
      comm_.gradient_sum->of(plan_.share.first, plan_.share.last,
                             [&](const GradientSum::OnPart& on_part) { return run_micro_batch(losses, on_part); });
  report_activity("updating weights");
  const at::Tensor update = model_.apply(gradient, options_.micro_batches_per_step(), learning_rate(state_.step));
  results_.push(losses, update, state_.epoch, state_.global_step);
  ++state_.step;
  ++state_.global_step;
}

// Returns the gradient [P], until the next micro-batch.
at::Tensor Trainer::run_micro_batch(std::vector<at::Tensor>& losses, const GradientSum::OnPart& on_part) {
  report_activity("waiting for data");
  const std::optional<DeviceBatch> batch = feed_->next();
  report_activity("forward and backward");
  DistillationStep::OnPart add_part;
  if (on_part) {
    add_part = [&](std::int64_t begin, const at::Tensor& part) {
      report_activity("adding gradients");
      on_part(begin, part);
      report_activity("forward and backward");
    };
  }
  const DistillationStep::Result result = distillation_.run(*batch, model_.loss_scale_factor(), add_part);
  losses.push_back(result.loss.clone());
  feed_->start_next();
  return result.gradient;
}

void Trainer::finish_queued_steps() {
  while (results_.size() > 0) {
    exchange_report(0);
  }
}

void Trainer::start_checkpoint() {
  finish_queued_steps();  // a step that may not be finite must not be saved
  saver_->start();
}

// Every rank receives every loss of the oldest queued step if more than num_unread are queued, and whether any rank is
// to stop: all decide alike. On a GPU it is the previous step, so that there is work while the host waits for it.
StepReport Trainer::exchange_report(std::size_t num_unread) {
  StepResult step;
  if (results_.size() > num_unread) {
    report_activity("waiting for the results of a step");
    step = results_.pop();
  }
  report_activity("exchanging losses");
  saver_->poll();
  if (const std::string stuck = saver_->why_stuck(); !stuck.empty() && session_.rank() == 0) {
    spdlog::error("{}", stuck);
    session_.abort(static_cast<int>(ExitCode::failure));  // unwinding would wait for the save
  }
  stop_.expect_save(saver_->longest_save_s());
  const RankReport mine = {step.losses, stop_.is_requested_after_step(), saver_->is_due(state_.global_step),
                           saver_->is_saving(), saver_->take_failure()};
  const int per_step = options_.micro_batches_per_step();
  const StepReport report =
      merge_reports(session_.all_gather(pack_report(mine, per_step, session_.size())), per_step, session_.size());
  folder_.check_lease();
  if (!step.losses.empty()) {
    check_step(report, step);
  }
  if (report.save_failed) {
    saver_->give_up_save();
  }
  if (report.checkpoint_due && report.saving && !report.stop && state_.step < plan_.sampler.steps_per_epoch()) {
    saver_->skip(state_.global_step);
  }
  display_.record_checkpoint(saver_->last_save().name, saver_->last_save().seconds_since_1970);
  return report;
}

// Records the losses of a step; throws Error (no_requeue) where one of them, or the gradient, is not finite.
void Trainer::check_step(const StepReport& report, const StepResult& step) {
  if (const std::optional<int> bad = report.first_not_finite()) {
    throw Error(fmt::format("the loss of micro-batch {} in step {} (epoch {}) is {}", *bad, step.global_step,
                            step.epoch + 1, report.losses[static_cast<std::size_t>(*bad)]),
                kDivergenceHint, ExitCode::no_requeue);
  }
  switch (model_.update_of(step.gradient_norm, step.loss_scale)) {
    case ModelState::Update::applied:
      break;
    case ModelState::Update::skipped:
      spdlog::info("step {} skipped: its gradient overflowed; the loss scale is now {}", step.global_step,
                   step.loss_scale);
      break;
    case ModelState::Update::refused: {
      const bool scaled = options_.precision == Precision::fp16;
      throw Error(fmt::format("the gradient of step {} (epoch {}) is not finite{}", step.global_step, step.epoch + 1,
                              scaled ? " at any loss scale" : ""),
                  scaled ? "train with --precision bf16, or lower --lr" : kDivergenceHint, ExitCode::no_requeue);
    }
  }
  state_.epoch_loss_sum += report.loss_sum();
  display_.show_step(state_, report.loss_sum() / options_.micro_batches_per_step(), learning_rate(state_.step - 1),
                     feed_->loader().counts().seconds_waited);
}

double Trainer::learning_rate(std::int64_t step) const {
  return learning_rate_at(options_.schedule, plan_.sampler.global_batch(), state_.epoch, step,
                          plan_.sampler.steps_per_epoch());
}

// Writes one line of log.txt for the epoch, with DeiT's keys and others.
bool Trainer::finish_epoch() {
  const std::int64_t steps = plan_.sampler.steps_per_epoch();
  finish_queued_steps();
  const std::optional<RunDisplay::Rates> rates = display_.epoch_rates(feed_->loader().counts().seconds_waited);
  display_.end_progress();
  const double loss = state_.epoch_loss_sum / static_cast<double>(steps * options_.micro_batches_per_step());
  nlohmann::ordered_json line = {{"train_lr", learning_rate(steps - 1)}, {"train_loss", loss}};
  std::string summary = fmt::format("train loss {:.4f}", loss);
  if (data_.evaluation() != nullptr) {
    start_checkpoint();  // an evaluation is long, and may be interrupted
    show("evaluating");
    const std::optional<EvaluationResult> result = evaluate_student("evaluating");
    if (!result) {
      return true;
    }
    line["test_loss"] = result->loss;
    line["test_acc1"] = result->accuracy_top1;
    line["test_acc5"] = result->accuracy_top5;
    summary += fmt::format(", test acc@1 {:.2f} %, acc@5 {:.2f} %, loss {:.4f}", result->accuracy_top1,
                           result->accuracy_top5, result->loss);
    if (model_.has_average()) {
      std::optional<EvaluationResult> averaged;
      model_.with_average([&] { averaged = evaluate_student("evaluating the average"); });
      if (!averaged) {
        return true;
      }
      line["test_ema_acc1"] = averaged->accuracy_top1;
      line["test_ema_acc5"] = averaged->accuracy_top5;
      summary += fmt::format(", of the average {:.2f} %", averaged->accuracy_top1);
    }
    saver_->record_evaluation({result->accuracy_top1, state_.epoch, state_.global_step});
  }
  line["epoch"] = state_.epoch;
  line["n_parameters"] = model_.student().num_parameters();
  if (rates) {
    line["images_per_second"] = rates->images_per_second;
    line["waiting_share"] = rates->waiting_share;
    summary += fmt::format(", {:.0f} images/s", rates->images_per_second);
  }
  if (options_.bad_records_limit > 0) {
    const std::vector<double> bad =
        session_.all_gather(std::array{static_cast<double>(feed_->loader().counts().bad_records)});
    line["bad_records"] =
        static_cast<std::int64_t>(std::accumulate(bad.begin(), bad.end(), 0.0));  // of each rank, since it started
  }
  if (teacher_) {
    line["kept_patches"] = distillation_.kept_patches(state_.epoch);
  }
  state_.history.push_back(line.dump());
  spdlog::info("epoch {}: {}", state_.epoch + 1, summary);
  ++state_.epoch;
  state_.step = 0;
  state_.epoch_loss_sum = 0;
  start_checkpoint();
  session_.activity().report("writing log.txt", Activity::Pace::slow);
  folder_.write_log(state_.history);
  return session_.any(stop_requested());
}

std::optional<EvaluationResult> Trainer::evaluate_student(const std::string& title) {
  EvaluationOptions how;
  how.augment = options_.augment;
  how.batch = options_.eval_batch;
  how.num_workers = options_.num_workers;
  how.prefetch = options_.prefetch > 0 ? options_.prefetch : how.prefetch;
  how.bad_records_limit = options_.bad_records_limit;
  how.stop = [this] { return stop_requested(); };
  how.compute_dtype = scalar_type(options_.precision);
  how.reference_kernels = options_.reference_kernels;
  distillation_.forget_recordings();
  return evaluate(session_, model_.student(), model_.device(), *data_.evaluation(), how, title);
}

ExitCode Trainer::end_run() {
  finish_queued_steps();
  display_.end_progress();
  const bool saved = saver_->save_at_end(/*tries=*/is_done() ? 5 : 2);
  session_.activity().report("ending the run", Activity::Pace::slow);
  saver_->report_skipped();
  if (!is_done() || !saved) {
    spdlog::info("stopped after step {} (epoch {}, step {} of {}) {}{}", state_.global_step, state_.epoch + 1,
                 state_.step, plan_.sampler.steps_per_epoch(),
                 state_.global_step == 0 ? "with nothing to save yet"
                 : saved                 ? "with a checkpoint"
                                         : "without a new checkpoint",
                 stop_.is_at_time_limit() ? ", before the time limit" : "");
    show("stopped");
    // After a signal there may have been too little time; any other stop without a new checkpoint would be repeated.
    const bool without_progress = !session_.any(stop_.is_signalled()) && !(saved && stop_.num_steps() > 0);
    folder_.end(display_.status(), without_progress);
    session_.barrier();  // while the watchdog still observes it
    return ExitCode::requeue;
  }
  try {
    folder_.write_finished(state_, saver_->last_save().name);
  } catch (const Fenced&) {
    throw;
  } catch (const Error& error) {  // the next start finds all epochs done, and only writes the mark
    throw Error(error.what(), error.hint(), ExitCode::requeue, error.where());
  }
  spdlog::info("finished: {} epochs, {} steps", state_.epoch, state_.global_step);
  show("finished");
  folder_.end(display_.status());
  session_.barrier();
  return ExitCode::finished;
}

// Of this rank; the ranks combine their answers.
bool Trainer::stop_requested() {
  stop_.expect_save(saver_->longest_save_s());
  return stop_.is_requested();
}

void Trainer::show(const std::string& phase) {
  display_.record_checkpoint(saver_->last_save().name, saver_->last_save().seconds_since_1970);
  display_.show(state_, phase);
}

// The first step of a process is slow: it compiles, allocates and reads for the first time.
void Trainer::report_activity(const char* what) const {
  session_.activity().report(fmt::format("step {}: {}", state_.global_step, what),
                             stop_.num_steps() == 0 ? Activity::Pace::slow : Activity::Pace::usual);
}

}  // namespace maskedkd
