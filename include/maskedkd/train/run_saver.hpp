// Owns the saving of a run's checkpoints: when one is due, the copy for which a step waits, what a failure means, which
// epoch is the best one, what is on disk, the last checkpoint before the process ends. Writing and hashing are done by
// checkpoint/background_saver.hpp while training goes on. Every rank has one; rank 0's commits, the others' write
// parts.
#pragma once

#include "maskedkd/base/running_clock.hpp"
#include "maskedkd/checkpoint/background_saver.hpp"
#include "maskedkd/train/model_state.hpp"
#include "maskedkd/train/run_state.hpp"
#include "maskedkd/train/train_options.hpp"

#include <functional>
#include <optional>

namespace maskedkd {

class Activity;

// How this rank's saver reaches the others.
struct SaverRanks {
  int rank = 0;
  int size = 1;
  std::function<bool(bool mine)> any;  // collective: whether some rank says so
  const Activity* activity = nullptr;  // of this rank, for a watchdog
};

// How the saves of this process went.
struct SaveHealth {
  RunningClock::time_point last_began = RunningClock::now();
  std::optional<RunningClock::time_point> failing_since;  // when the first one began that failed after one that worked
  double longest_s = 0;
  bool failed = false;  // this rank's last one did, and the other ranks do not know it yet
};

// The newest checkpoint that is known to be on disk. Rank 0 knows.
struct LastSave {
  std::string name;                     // of its folder; empty: none yet
  std::int64_t seconds_since_1970 = 0;  // 0: an earlier process wrote it
};

class RunSaver {
 public:
  // state, model: what is saved; the saver keeps state's best epoch, loss scale and good steps up to date. All
  // references outlive this. metadata: of the files of weights. background: writes into this run's folder.
  RunSaver(SaverRanks ranks, const TrainOptions& options, RunState& state, const ModelState& model,
           SafetensorsMetadata metadata, std::unique_ptr<BackgroundSaver> background);

  // Once a step, not collective. Takes the result of a save that has ended. Throws Fenced where another start has the
  // run, and Error where none could be written for --max-checkpoint-age.
  void poll();
  // Whether a checkpoint is due after global_step steps, by step or by time.
  bool is_due(std::int64_t global_step) const;
  bool is_saving() const { return background_->busy(); }
  // What to report before the job is aborted: the save under way takes longer than --max-checkpoint-age, and its thread
  // may hang in the file system for ever. Empty: it does not.
  std::string stuck() const;
  // Whether this rank's last save failed; true once.
  bool take_failure();
  // Some rank's save has failed: the one under way is lost.
  void give_up_save();
  // A checkpoint that is due by --checkpoint-steps after global_step steps is skipped: the one before is still being
  // written.
  void skip(std::int64_t global_step);
  void report_skipped() const;

  void record_evaluation(const BestEpoch& evaluated) { evaluated_ = evaluated; }
  // The state is that of this checkpoint: nothing is to be saved before the next step.
  void record_restored(const std::filesystem::path& checkpoint);

  // Collective. Waits for a save under way, copies the state, and begins to write it.
  void start();
  // Collective. Waits for the save under way, if any; whether what was to be saved is on disk.
  bool finish();
  // Collective. The last checkpoint of this process, tried so many times; true also where nothing is to be saved.
  bool save_at_end(int tries);

  double longest_save_s() const noexcept { return health_.longest_s; }
  const LastSave& last_save() const noexcept { return last_save_; }

 private:
  // Where a checkpoint lies in the run, as it is named.
  struct Position {
    std::int64_t step = 0;
    bool evaluated = false;
    bool operator==(const Position&) const = default;
  };

  Position position() const;
  CheckpointContent snapshot();  // this rank's part, in memory that nothing else uses
  void take(const SaveResult& result);
  void record_outcome(bool saved);
  bool is_too_long(RunningClock::time_point since) const;  // by --max-checkpoint-age

  const SaverRanks ranks_;
  const TrainOptions& options_;
  RunState& state_;
  const ModelState& model_;
  const SafetensorsMetadata metadata_;
  std::unique_ptr<BackgroundSaver> background_;
  SaveHealth health_;
  int attempts_ = 0;
  std::int64_t num_skipped_ = 0, first_global_step_;
  std::optional<Position> being_saved_, on_disk_;
  BestEpoch evaluated_, best_on_disk_;  // the newest evaluation; state_.best as of the last save that worked
  LastSave last_save_;
};

}  // namespace maskedkd
