// Checkpoints while training goes on: the step waits for a copy of the state in host memory only.
#include "maskedkd/base/log.hpp"
#include "maskedkd/base/running_clock.hpp"
#include "maskedkd/comm/mpi_session.hpp"
#include "maskedkd/model/class_names.hpp"
#include "maskedkd/train/trainer.hpp"

#include <ctime>
#include <thread>

namespace maskedkd {
namespace {

constexpr auto kBetweenLastTries = std::chrono::seconds(1);  // then twice as long, ...

constexpr const char* kMendTheFileSystem =
    "mend the file system, and start again; --max-checkpoint-age says how long it may last";

double minutes_since(RunningClock::time_point time) {
  return std::chrono::duration<double>(RunningClock::now() - time).count() / 60;
}

bool is_checkpoint_step(const TrainOptions& options, std::int64_t global_step) {
  return options.checkpoint_steps > 0 && global_step % options.checkpoint_steps == 0;
}

}  // namespace

std::map<std::string, NamedTensors> Trainer::state_groups() const {
  std::map<std::string, NamedTensors> groups;
  groups["model"] = parameters_.named_views(parameters_.values());
  groups["optimizer"] = optimizer_.state();
  if (average_) {
    groups["ema"] = parameters_.named_views(average_->values());
  }
  return groups;
}

std::uint64_t Trainer::bytes_of_state() const {
  std::uint64_t bytes = 0;
  for (const auto& [group, tensors] : state_groups()) {
    bytes += total_bytes(tensors);
  }
  return bytes;
}

bool Trainer::checkpoint_is_due() {
  if (const auto result = saver_->take_result()) {
    note_saved(*result);
  }
  // Since that save began: the last one may be older by a long pause between two.
  if (saver_->busy() && session_.rank() == 0 && too_long(last_save_began_)) {
    // Its thread may hang in the file system for ever, and everything that unwinds would wait for it.
    spdlog::error("a checkpoint is being written for {:.0f} minutes; {}", minutes_since(last_save_began_),
                  kMendTheFileSystem);
    session_.abort(static_cast<int>(ExitCode::failure));
  }
  const double minutes = minutes_since(last_save_began_);
  return is_checkpoint_step(options_, state_.global_step + 1) ||
         (options_.checkpoint_minutes > 0 && minutes >= options_.checkpoint_minutes);
}

// One that is due by time is written as soon as the one before is; an epoch's end waits for it.
void Trainer::note_left_out() {
  const std::int64_t step = state_.global_step + 1;
  if (!is_checkpoint_step(options_, step) || state_.step + 1 == sampler_.steps_per_epoch()) {
    return;
  }
  if (++checkpoints_left_out_ == 1 && session_.rank() == 0) {
    spdlog::warn(
        "the checkpoint after step {} is left out, as the one before is still being written; so will others be, if "
        "{} --checkpoint-steps take less time than a save",
        step, options_.checkpoint_steps);
  }
}

void Trainer::tell_left_out() const {
  if (checkpoints_left_out_ > 0 && session_.rank() == 0) {
    const std::int64_t last = state_.global_step, first = last - steps_here_;
    spdlog::warn("{} of {} checkpoints of --checkpoint-steps {} were left out, as the one before was being written",
                 checkpoints_left_out_, last / options_.checkpoint_steps - first / options_.checkpoint_steps,
                 options_.checkpoint_steps);
  }
}

// An epoch's end is in the state only after its evaluation.
Trainer::CheckpointPosition Trainer::position() const {
  return {state_.global_step, eval_set_.has_value() && state_.step == 0};
}

// This rank's part of the state, in memory of its own.
CheckpointContent Trainer::snapshot() {
  state_.loss_scale = scaler_.scale();
  state_.good_steps = scaler_.good_steps();
  CheckpointContent content;
  content.step = position().step;
  content.evaluated = position().evaluated;
  content.attempt = ++save_attempts_;
  content.state_json = to_json(state_);
  for (const char* weights : {"model", "ema"}) {
    content.metadata[weights] = class_metadata(train_set_.class_names());
  }
  const auto groups = state_groups();
  // Readers of weights look for model.safetensors.
  for (const PlannedFile& file :
       plan_checkpoint_files(groups, session_.size(), static_cast<std::uint64_t>(options_.checkpoint_file_mb) << 20,
                             /*whole=*/{"model"})) {
    if (file.writer != session_.rank()) {
      content.elsewhere.insert(file.stem);
      for (std::size_t i = file.first; i < file.last; ++i) {
        content.bytes_elsewhere += groups.at(file.group)[i].second.nbytes();
      }
      continue;
    }
    NamedTensors& copies = content.groups[file.stem];
    for (std::size_t i = file.first; i < file.last; ++i) {
      const auto& [name, tensor] = groups.at(file.group)[i];
      copies.emplace_back(name, tensor.detach().to(at::kCPU, tensor.scalar_type(), /*non_blocking=*/false,
                                                   /*copy=*/true));
    }
  }
  return content;
}

void Trainer::start_saving() {
  finish_saving();
  now("copying the state for a checkpoint");
  last_save_began_ = Clock::now();
  being_saved_ = position();
  const bool is_best =
      being_saved_->evaluated && evaluated_.step == state_.global_step && evaluated_.accuracy > state_.best.accuracy;
  if (is_best) {
    state_.best = evaluated_;
  }
  CheckpointContent content = snapshot();
  if (session_.rank() == 0 || !content.groups.empty()) {
    saver_->start(std::move(content), is_best);
  }
}

// The other ranks first: where one of their parts failed, rank 0's save would wait for it.
bool Trainer::finish_saving() {
  session_.activity().now("waiting for a checkpoint to be written", Activity::Pace::slow);
  const auto wait = [&] {
    while (saver_->busy(std::chrono::seconds(1)) && !too_long(last_save_began_)) {
      session_.activity().beat();  // a slow file system is no hang
    }
    if (const auto result = saver_->wait()) {
      note_saved(*result);
    }
  };
  if (session_.rank() != 0) {
    wait();
  }
  if (session_.any(session_.rank() != 0 && std::exchange(save_failed_, false))) {
    saver_->cancel();
  }
  if (session_.rank() == 0) {
    wait();
  }
  const bool saved = !session_.any(session_.rank() == 0 && std::exchange(save_failed_, false));
  settle(saved);
  return saved;
}

void Trainer::settle(bool saved) {
  if (being_saved_ && saved) {
    on_disk_ = being_saved_;
    best_on_disk_ = state_.best;
  } else {
    state_.best = best_on_disk_;
  }
  being_saved_.reset();
}

bool Trainer::save_at_last(int tries) {
  if (state_.global_step == 0) {
    return true;  // a start from the beginning is as good
  }
  auto pause = kBetweenLastTries;
  finish_saving();  // the end of an epoch has begun it already
  for (int tried = 0; on_disk_ != position(); ++tried) {
    if (tried == tries) {
      return false;
    }
    if (tried > 0) {
      session_.activity().now("waiting before a checkpoint is tried again", Activity::Pace::slow);
      std::this_thread::sleep_for(pause);
      pause *= 2;
    }
    start_saving();
    finish_saving();
  }
  return true;
}

void Trainer::note_saved(const SaveResult& result) {
  longest_save_s_ = std::max(0.7 * longest_save_s_, result.seconds);
  if (result.fenced) {
    throw Fenced(result.error, "", ExitCode::no_requeue);
  }
  const bool saved = !result.path.empty() || (session_.rank() != 0 && result.error.empty());
  if (!result.error.empty()) {
    spdlog::warn("{}{}", result.error, saved ? "" : "; the run goes on, and tries again at the next checkpoint");
  }
  save_failed_ = !saved;
  if (saved) {
    failing_since_.reset();
    if (session_.rank() == 0) {
      status_.last_checkpoint = result.path.filename().string();
      status_.last_checkpoint_time = static_cast<std::int64_t>(std::time(nullptr));
    }
    return;
  }
  if (!failing_since_) {
    failing_since_ = last_save_began_;
  }
  if (session_.rank() == 0 && too_long(*failing_since_)) {
    throw Error(fmt::format("no checkpoint could be written for {:.0f} minutes; the last reason: {}",
                            minutes_since(*failing_since_), result.error),
                kMendTheFileSystem);
  }
}

bool Trainer::too_long(Clock::time_point since) const {
  return options_.max_checkpoint_age_minutes > 0 && minutes_since(since) > options_.max_checkpoint_age_minutes;
}

}  // namespace maskedkd
