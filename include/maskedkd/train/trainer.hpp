// The training loop: what each rank does, step by step, from wherever the run is to its end or to a stop signal.
// trainer.cpp: the loop and a step. trainer_epoch.cpp: an epoch's end. trainer_state.cpp: how a run begins, is taken up
// again. trainer_save.cpp: how it is saved while it goes on.
#pragma once

#include "maskedkd/base/error.hpp"
#include "maskedkd/base/running_clock.hpp"
#include "maskedkd/checkpoint/background_saver.hpp"
#include "maskedkd/comm/communicator.hpp"
#include "maskedkd/data/loader.hpp"
#include "maskedkd/data/sampler.hpp"
#include "maskedkd/distill/teacher.hpp"
#include "maskedkd/shards/staging.hpp"
#include "maskedkd/train/adamw.hpp"
#include "maskedkd/train/distillation_step.hpp"
#include "maskedkd/train/evaluator.hpp"
#include "maskedkd/train/flat_parameters.hpp"
#include "maskedkd/train/job_clock.hpp"
#include "maskedkd/train/loss_scaler.hpp"
#include "maskedkd/train/micro_batch_source.hpp"
#include "maskedkd/train/run_folder.hpp"
#include "maskedkd/train/run_state.hpp"
#include "maskedkd/train/train_options.hpp"
#include "maskedkd/watchdog/watchdog.hpp"

#include <chrono>
#include <memory>
#include <optional>

namespace maskedkd {

class MpiSession;
class Progress;

class Trainer {
 public:
  // Collective. Opens the data, builds student and teacher, takes up the newest checkpoint. texts: the resolved
  // options, kept in every checkpoint. Throws Error.
  Trainer(const MpiSession& session, const TrainOptions& options, const OptionTexts& texts, at::Device device);
  ~Trainer();

  // Collective. finished: all epochs are done. requeue: a stop signal came, a checkpoint is written. Throws Error, with
  // no_requeue where the loss or the gradient is not finite.
  ExitCode run();

 private:
  using Clock = RunningClock;  // a job that was suspended is no slower for it

  // What the ranks tell each other after each step.
  struct StepReport {
    double loss_sum = 0;  // over the step's micro-batches, in their order
    bool stop = false;
    bool checkpoint = false;  // is due, and no rank still writes the one before
  };

  // Where the run is, as its checkpoints are named.
  struct CheckpointPosition {
    std::int64_t step = 0;
    bool evaluated = false;
    bool operator==(const CheckpointPosition&) const = default;
  };

  // What this process has done of the running epoch, for its speed.
  struct EpochClock {
    Clock::time_point began;
    std::int64_t first_step = 0;
    double waited_before_s = 0;  // for data, until then
  };

  StepReport train_step();
  void now(const char* what) const;  // for the watchdog
  at::Tensor gradient_sum(int first, int last, std::vector<double>& losses);
  void add_micro_batch(const at::Tensor& gradient, std::vector<double>& losses);
  StepReport share(const std::vector<double>& losses);
  void apply(at::Tensor& gradient);
  double learning_rate(std::int64_t step) const;

  void begin_epoch();
  void show_progress(double loss);
  bool finish_epoch();  // whether the run is to stop; the epoch is then not finished where the evaluation was not
  std::optional<EvaluationResult> evaluate_student(const std::string& title);
  bool checkpoint_is_due();
  bool at_time_limit();  // rank 0's clock
  bool stop_asked();     // of this rank: a signal, or the time limit
  void show_status(const std::string& state);

  bool resume();  // whether there was a checkpoint
  void begin();   // with first weights, drawn or given
  void take_up(const LoadedCheckpoint& checkpoint);
  void start_staging();
  void start_loader();
  void start_saving();
  void settle(bool saved);       // what was being saved is on the disk, or it is lost
  bool finish_saving();          // whether the one under way, if any, is on the disk
  bool save_at_last(int tries);  // the last one of this start
  void note_left_out();          // a checkpoint is due after this step while the one before is being written
  void tell_left_out() const;    // how many there were
  CheckpointContent snapshot();
  CheckpointPosition position() const;
  void note_saved(const SaveResult& result);
  bool too_long(Clock::time_point since) const;              // by --max-checkpoint-age
  std::map<std::string, NamedTensors> state_groups() const;  // views, of what a checkpoint holds
  std::uint64_t bytes_of_state() const;

  const MpiSession& session_;
  const TrainOptions options_;
  const at::Device device_;
  RunFolder folder_;
  Watchdog watchdog_;
  ShardSet train_set_;
  std::optional<ShardSet> eval_set_;
  std::optional<Staging> train_staging_, eval_staging_;
  SamplerOptions sampler_;
  Vit student_;
  std::optional<Teacher> teacher_;
  FlatParameters parameters_;
  AdamW optimizer_;
  std::optional<WeightAverage> average_;
  LossScaler scaler_;
  DistillationStep distillation_;
  std::unique_ptr<Communicator> communicator_;
  Watchdog::Watched watched_communicator_;
  std::unique_ptr<Loader> loader_;
  RunState state_;
  MicroBatchShare share_;        // this rank's of every step
  std::int64_t steps_here_ = 0;  // of this process
  JobClock job_clock_;
  bool time_is_up_ = false;
  std::unique_ptr<BackgroundSaver> saver_;
  Clock::time_point last_save_began_ = Clock::now();
  std::optional<Clock::time_point> failing_since_;  // when the first save began that failed after one that worked
  Clock::time_point step_began_ = Clock::now();
  double longest_step_s_ = 0, longest_save_s_ = 0;  // of this process
  int save_attempts_ = 0;
  std::int64_t checkpoints_left_out_ = 0;  // of those after every --checkpoint-steps steps, by this process
  std::optional<CheckpointPosition> being_saved_, on_disk_;
  BestEpoch evaluated_, best_on_disk_;  // the newest evaluation; what state_.best was in the last save that worked
  bool save_failed_ = false;            // this rank's last one; told with the next step
  RunStatus status_;
  EpochClock epoch_clock_;
  std::unique_ptr<Progress> progress_;
};

}  // namespace maskedkd
