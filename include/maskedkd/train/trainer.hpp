// The training loop: what each rank does, step by step, from wherever the run is to its end or to a stop signal.
// trainer.cpp: the loop and a step. trainer_epoch.cpp: an epoch's end. trainer_state.cpp: how a run begins, is taken up
// again and is saved.
#pragma once

#include "maskedkd/base/error.hpp"
#include "maskedkd/checkpoint/checkpoint.hpp"
#include "maskedkd/comm/communicator.hpp"
#include "maskedkd/data/loader.hpp"
#include "maskedkd/data/sampler.hpp"
#include "maskedkd/distill/teacher.hpp"
#include "maskedkd/images/staging.hpp"
#include "maskedkd/io/posix.hpp"
#include "maskedkd/train/adamw.hpp"
#include "maskedkd/train/distillation_step.hpp"
#include "maskedkd/train/evaluator.hpp"
#include "maskedkd/train/flat_parameters.hpp"
#include "maskedkd/train/loss_scaler.hpp"
#include "maskedkd/train/micro_batch_source.hpp"
#include "maskedkd/train/run_state.hpp"
#include "maskedkd/train/train_options.hpp"

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
  using Clock = std::chrono::steady_clock;

  // What the ranks tell each other after each step.
  struct StepReport {
    double loss_sum = 0;  // over the step's micro-batches, in their order
    bool stop = false;
    bool checkpoint = false;
  };

  // What this process has done of the running epoch, for its speed.
  struct EpochClock {
    Clock::time_point began;
    std::int64_t first_step = 0;
    double waited_before_s = 0;  // for data, until then
  };

  StepReport train_step();
  at::Tensor gradient_sum(int first, int last, std::vector<double>& losses);
  void add_micro_batch(const at::Tensor& gradient, std::vector<double>& losses);
  StepReport share(const std::vector<double>& losses);
  void apply(at::Tensor& gradient);
  double learning_rate(std::int64_t step) const;

  void begin_epoch();
  void show_progress(double loss) const;
  bool finish_epoch();  // whether a stop signal came meanwhile
  EvaluationResult evaluate_student(const std::string& title) const;
  void write_log() const;

  bool resume();  // whether there was a checkpoint
  void start_from_weights();
  void take_up(const LoadedCheckpoint& checkpoint);
  void start_staging();
  void start_loader();
  void save();
  std::filesystem::path checkpoint_root() const;

  const MpiSession& session_;
  const TrainOptions options_;
  const at::Device device_;
  std::optional<DirectoryLock> lock_;  // rank 0's
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
  std::unique_ptr<Loader> loader_;
  RunState state_;
  MicroBatchShare share_;        // this rank's of every step
  std::int64_t steps_here_ = 0;  // of this process
  Clock::time_point last_saved_ = Clock::now();
  EpochClock epoch_clock_;
  std::unique_ptr<Progress> progress_;
};

}  // namespace maskedkd
