// Saves a run's checkpoints: decides when one is due, makes the copy for which a step waits, handles failures, tracks
// the best epoch and what is on disk, and saves the last checkpoint before the process ends. A BackgroundSaver writes
// and hashes while training continues. Every rank has one; rank 0's commits, the others' write parts.
#pragma once

#include "maskedkd/base/running_clock.hpp"
#include "maskedkd/checkpoint/background_saver.hpp"
#include "maskedkd/train/model_state.hpp"
#include "maskedkd/train/run_state.hpp"
#include "maskedkd/train/state_copy.hpp"
#include "maskedkd/train/train_options.hpp"

#include <functional>
#include <optional>

namespace maskedkd {

class Activity;

// How this rank's saver communicates with the others.
struct SaverRanks {
  int rank = 0;
  int size = 1;
  std::function<bool(bool mine)> any;  // collective: whether `mine` is true on any rank
  const Activity* activity = nullptr;  // of this rank, for the watchdog
};

// The outcome of this process's saves.
struct SaveHealth {
  RunningClock::time_point last_began = RunningClock::now();
  std::optional<RunningClock::time_point> failing_since;  // start of the first failed save since a success
  double longest_s = 0;
  int attempts = 0;     // saves that have begun
  bool failed = false;  // this rank's last one failed, and the other ranks do not know it yet
};

// The newest checkpoint that is known to be on disk; known on rank 0.
struct LastSave {
  std::string name;                     // of its folder; empty: none yet
  std::int64_t seconds_since_1970 = 0;  // 0: an earlier process wrote it
};

class RunSaver {
 public:
  // state, model: what is saved; the saver updates the state's best epoch, loss scale and good steps. All references
  // outlive this. metadata: for the files of weights. background: writes into this run's folder.
  RunSaver(SaverRanks ranks, const TrainOptions& options, RunState& state, const ModelState& model,
           SafetensorsMetadata metadata, std::unique_ptr<BackgroundSaver> background);

  // Once a step, not collective. Processes the result of a save that has ended. Throws Fenced where another start has
  // taken over the run, and Error where no save has succeeded for --max-checkpoint-age.
  void poll();
  // Whether a checkpoint is due after global_step steps, by step or by time.
  bool is_due(std::int64_t global_step) const;
  bool is_saving() const { return background_->busy(); }
  // One line if the current save, which may hang, takes longer than --max-checkpoint-age, so that the job has to be
  // aborted; else empty.
  std::string why_stuck() const;
  // Whether this rank's last save failed; returns true once.
  bool take_failure();
  // Gives up the current save, because it has failed on some rank.
  void give_up_save();
  // Skips a checkpoint that is due after global_step steps, because the previous one is still being written.
  void skip(std::int64_t global_step);
  void report_skipped() const;

  void record_evaluation(const BestEpoch& evaluated) { evaluated_ = evaluated; }
  // The state was restored from this checkpoint: nothing is to be saved before the next step.
  void record_restored(const std::filesystem::path& checkpoint);

  // Collective. Waits for the current save, copies the state, and begins to write it.
  void start();
  // Collective. Waits for the current save, if any; returns whether what was to be saved is on disk.
  bool finish();
  // Collective. Saves the last checkpoint of this process, in so many tries. True also where nothing is to be saved.
  bool save_at_end(int tries);

  double longest_save_s() const noexcept { return health_.longest_s; }
  const LastSave& last_save() const noexcept { return last_save_; }

 private:
  // A checkpoint's position in the run, from which its name is made.
  struct Position {
    std::int64_t step = 0;
    bool evaluated = false;
    bool operator==(const Position&) const = default;
  };

  Position position() const;
  CheckpointContent snapshot();  // this rank's part, copied
  void record_result(const SaveResult& result);
  void record_outcome(bool saved);
  bool is_too_long(RunningClock::time_point since) const;  // for --max-checkpoint-age

  const SaverRanks ranks_;
  const TrainOptions& options_;
  RunState& state_;
  const ModelState& model_;
  const SafetensorsMetadata metadata_;
  StateCopy copy_;  // what the background saver writes
  std::unique_ptr<BackgroundSaver> background_;
  SaveHealth health_;
  std::int64_t num_skipped_ = 0, first_global_step_;
  std::optional<Position> being_saved_, on_disk_;
  BestEpoch evaluated_, best_on_disk_;  // the newest evaluation; state_.best as of the last successful save
  LastSave last_save_;
};

}  // namespace maskedkd
