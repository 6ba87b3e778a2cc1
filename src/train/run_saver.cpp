#include "maskedkd/train/run_saver.hpp"

#include "maskedkd/base/activity.hpp"
#include "maskedkd/base/log.hpp"

#include <algorithm>
#include <chrono>
#include <ctime>
#include <thread>
#include <utility>

namespace maskedkd {
namespace {

constexpr auto kFirstRetryDelay = std::chrono::seconds(1);  // doubled before each further try
constexpr const char* kFileSystemHint =
    "repair the file system, and start again; --max-checkpoint-age limits how long saves may fail";

double minutes_since(RunningClock::time_point time) {
  return std::chrono::duration<double>(RunningClock::now() - time).count() / 60;
}

bool is_checkpoint_step(const TrainOptions& options, std::int64_t global_step) {
  return options.checkpoint_steps > 0 && global_step % options.checkpoint_steps == 0;
}

}  // namespace

RunSaver::RunSaver(SaverRanks ranks, const TrainOptions& options, RunState& state, const ModelState& model,
                   SafetensorsMetadata metadata, std::unique_ptr<BackgroundSaver> background)
    : ranks_(std::move(ranks)),
      options_(options),
      state_(state),
      model_(model),
      metadata_(std::move(metadata)),
      background_(std::move(background)),
      first_global_step_(state.global_step) {}

void RunSaver::record_restored(const std::filesystem::path& checkpoint) {
  on_disk_ = position();
  last_save_.name = checkpoint.filename().string();
  best_on_disk_ = state_.best;
}

void RunSaver::poll() {
  if (const auto result = background_->take_result()) {
    record_result(*result);
  }
}

bool RunSaver::is_due(std::int64_t global_step) const {
  return is_checkpoint_step(options_, global_step) ||
         (options_.checkpoint_minutes > 0 && minutes_since(health_.last_began) >= options_.checkpoint_minutes);
}

// Since the current save began: the last successful one may be older by a long pause between two.
std::string RunSaver::why_stuck() const {
  return is_saving() && is_too_long(health_.last_began)
             ? fmt::format("writing a checkpoint has taken {:.0f} minutes so far; {}",
                           minutes_since(health_.last_began), kFileSystemHint)
             : "";
}

bool RunSaver::take_failure() { return std::exchange(health_.failed, false); }

void RunSaver::give_up_save() {
  record_outcome(/*saved=*/false);
  background_->cancel();  // it may be waiting for the part of the rank that failed
}

// A checkpoint that is due by time is not skipped but delayed until the previous one is written.
void RunSaver::skip(std::int64_t global_step) {
  if (is_checkpoint_step(options_, global_step) && ++num_skipped_ == 1 && ranks_.rank == 0) {
    spdlog::warn(
        "the checkpoint after step {} is skipped, as the previous one is still being written; others will be too, if "
        "{} --checkpoint-steps take less time than a save",
        global_step, options_.checkpoint_steps);
  }
}

void RunSaver::report_skipped() const {
  if (num_skipped_ > 0 && ranks_.rank == 0) {
    spdlog::warn("{} of {} checkpoints of --checkpoint-steps {} were skipped, as the previous one was being written",
                 num_skipped_,
                 state_.global_step / options_.checkpoint_steps - first_global_step_ / options_.checkpoint_steps,
                 options_.checkpoint_steps);
  }
}

// At the end of an epoch state_.step becomes 0 only after the evaluation.
RunSaver::Position RunSaver::position() const {
  return {state_.global_step, !options_.eval_data_path.empty() && state_.step == 0};
}

CheckpointContent RunSaver::snapshot() {
  state_.loss_scale = model_.loss_scale();
  state_.good_steps = model_.good_steps();
  CheckpointContent content;
  content.step = position().step;
  content.evaluated = position().evaluated;
  content.attempt = ++health_.attempts;
  content.state_json = to_json(state_);
  for (const char* weights : {"model", "ema"}) {
    content.metadata[weights] = metadata_;
  }
  const auto groups = model_.groups();
  std::map<std::string, NamedTensors> own;
  // The model is one file: readers of weights look for model.safetensors.
  for (const PlannedFile& file :
       plan_checkpoint_files(groups, ranks_.size, static_cast<std::uint64_t>(options_.checkpoint_file_mb) << 20,
                             /*whole=*/{"model"})) {
    if (file.writer != ranks_.rank) {
      content.elsewhere.insert(file.stem);
      for (std::size_t i = file.first; i < file.last; ++i) {
        content.bytes_elsewhere += groups.at(file.group)[i].second.nbytes();
      }
      continue;
    }
    const NamedTensors& tensors = groups.at(file.group);
    own[file.stem].assign(tensors.begin() + static_cast<std::ptrdiff_t>(file.first),
                          tensors.begin() + static_cast<std::ptrdiff_t>(file.last));
  }
  content.groups = copy_.copy(own);
  content.wait_for_tensors = copy_.take_wait();
  return content;
}

void RunSaver::start() {
  finish();
  ranks_.activity->report("copying the state for a checkpoint");
  health_.last_began = RunningClock::now();
  being_saved_ = position();
  const bool is_best =
      being_saved_->evaluated && evaluated_.step == state_.global_step && evaluated_.accuracy > state_.best.accuracy;
  if (is_best) {
    state_.best = evaluated_;
  }
  CheckpointContent content = snapshot();
  if (ranks_.rank == 0 || !content.groups.empty()) {
    background_->start(std::move(content), is_best);
  }
}

// The other ranks wait first: where one of their parts failed, rank 0's save would wait for it.
bool RunSaver::finish() {
  ranks_.activity->report("waiting for a checkpoint to be written", Activity::Pace::slow);
  const auto wait = [&] {
    while (background_->busy(std::chrono::seconds(1)) && !is_too_long(health_.last_began)) {
      ranks_.activity->beat();  // a slow file system is not a hang
    }
    if (const auto result = background_->wait()) {
      record_result(*result);
    }
  };
  if (ranks_.rank != 0) {
    wait();
  }
  if (ranks_.any(ranks_.rank != 0 && take_failure())) {
    background_->cancel();
  }
  if (ranks_.rank == 0) {
    wait();
  }
  const bool saved = !ranks_.any(ranks_.rank == 0 && take_failure());
  record_outcome(saved);
  return saved;
}

bool RunSaver::save_at_end(int tries) {
  if (state_.global_step == 0) {
    return true;  // restarting from the beginning is as good
  }
  auto pause = kFirstRetryDelay;
  finish();  // at the end of an epoch it has already begun
  for (int tried = 0; on_disk_ != position(); ++tried) {
    if (tried == tries) {
      return false;
    }
    if (tried > 0) {
      ranks_.activity->report("waiting before a checkpoint is tried again", Activity::Pace::slow);
      std::this_thread::sleep_for(pause);
      pause *= 2;
    }
    start();
    finish();
  }
  return true;
}

void RunSaver::record_outcome(bool saved) {
  if (being_saved_ && saved) {
    on_disk_ = being_saved_;
    best_on_disk_ = state_.best;
  } else {
    state_.best = best_on_disk_;
  }
  being_saved_.reset();
}

void RunSaver::record_result(const SaveResult& result) {
  health_.longest_s = std::max(0.7 * health_.longest_s, result.seconds);
  if (result.fenced) {
    throw Fenced(result.error, "", ExitCode::no_requeue);
  }
  const bool saved = !result.path.empty() || (ranks_.rank != 0 && result.error.empty());
  if (!result.error.empty()) {
    spdlog::warn("{}{}", result.error, saved ? "" : "; the run continues, and tries again at the next checkpoint");
  }
  health_.failed = !saved;
  if (saved) {
    health_.failing_since.reset();
    if (!result.path.empty()) {
      last_save_ = {result.path.filename().string(), static_cast<std::int64_t>(std::time(nullptr))};
    }
    return;
  }
  if (!health_.failing_since) {
    health_.failing_since = health_.last_began;
  }
  if (ranks_.rank == 0 && is_too_long(*health_.failing_since)) {
    throw Error(fmt::format("no checkpoint could be written for {:.0f} minutes; the last reason: {}",
                            minutes_since(*health_.failing_since), result.error),
                kFileSystemHint);
  }
}

bool RunSaver::is_too_long(RunningClock::time_point since) const {
  return options_.max_checkpoint_age_minutes > 0 && minutes_since(since) > options_.max_checkpoint_age_minutes;
}

}  // namespace maskedkd
