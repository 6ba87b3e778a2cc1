// The training loop of one rank, step by step, from the current position of the run to its end or to a stop. It
// decides, and these classes do the work:
//
//   run_data       the packed sets              stop_policy   when to stop
//   model_state    weights, optimizer, average  run_saver     checkpoints
//   step_report    what the ranks exchange      run_display   progress and status
//   step_results   what the device answers      distillation_step   a micro-batch
//   gradient_sum   over micro-batches and ranks   resume   from a checkpoint to a state
//
// trainer.cpp contains the loop, trainer_start.cpp the construction.
#pragma once

#include "maskedkd/base/error.hpp"
#include "maskedkd/comm/communicator.hpp"
#include "maskedkd/data/sampler.hpp"
#include "maskedkd/distill/teacher.hpp"
#include "maskedkd/train/batch_feed.hpp"
#include "maskedkd/train/distillation_step.hpp"
#include "maskedkd/train/evaluator.hpp"
#include "maskedkd/train/gradient_sum.hpp"
#include "maskedkd/train/micro_batch_source.hpp"
#include "maskedkd/train/model_state.hpp"
#include "maskedkd/train/run_data.hpp"
#include "maskedkd/train/run_display.hpp"
#include "maskedkd/train/run_folder.hpp"
#include "maskedkd/train/run_saver.hpp"
#include "maskedkd/train/run_state.hpp"
#include "maskedkd/train/step_report.hpp"
#include "maskedkd/train/step_results.hpp"
#include "maskedkd/train/stop_policy.hpp"
#include "maskedkd/train/train_options.hpp"
#include "maskedkd/watchdog/watchdog.hpp"

#include <memory>
#include <optional>

namespace maskedkd {

class MpiSession;

class Trainer {
 public:
  // Collective. Restores the newest checkpoint. texts: the resolved options, for the checkpoints. Throws Error.
  Trainer(const MpiSession& session, const TrainOptions& options, const OptionTexts& texts, at::Device device);
  ~Trainer();

  // Collective. finished: all epochs are done. requeue: the run was stopped, and a checkpoint is written. Throws Error,
  // with no_requeue where the loss or the gradient is not finite.
  ExitCode run();

 private:
  // The micro-batches of a step, and those of this rank.
  struct BatchPlan {
    SamplerOptions sampler;
    MicroBatchShare share;
  };
  // The watchdog, which observes the construction already; the communicator, the watch over it, and what it adds.
  struct WatchedCommunicator {
    Watchdog watchdog;
    std::unique_ptr<Communicator> communicator;
    Watchdog::Watched watched;
    std::optional<GradientSum> gradient_sum;
  };

  bool train_step();  // returns whether the run is to stop
  void queue_step();
  at::Tensor run_micro_batch(std::vector<at::Tensor>& losses, const GradientSum::OnPart& on_part);
  StepReport exchange_report(std::size_t num_unread);
  void check_step(const StepReport& report, const StepResult& step);
  void finish_queued_steps();  // afterwards the weights are those after state_.global_step, and no loss is unknown
  void start_checkpoint();
  double learning_rate(std::int64_t step) const;
  bool is_done() const { return state_.epoch >= options_.schedule.epochs; }

  bool finish_epoch();  // returns whether the run is to stop, perhaps before the evaluation has ended
  std::optional<EvaluationResult> evaluate_student(const std::string& title);
  ExitCode end_run();
  bool stop_requested();
  void show(const std::string& phase);
  void report_activity(const char* what) const;  // of the current step, to the watchdog

  RunState describe_start(const OptionTexts& texts) const;  // this start, as the beginning of a run
  std::optional<LoadedCheckpoint> find_checkpoint();        // that this start resumes from
  void set_initial_weights();                               // drawn, or loaded from --finetune
  void resume(const LoadedCheckpoint& checkpoint);
  void make_replicas_equal();
  std::unique_ptr<RunSaver> make_saver();
  std::unique_ptr<Loader> make_loader() const;

  const MpiSession& session_;
  const TrainOptions options_;
  RunFolder folder_;
  WatchedCommunicator comm_;
  RunData data_;
  BatchPlan plan_;
  ModelState model_;
  std::optional<Teacher> teacher_;
  DistillationStep distillation_;
  StepResults results_;
  RunState state_;
  StopPolicy stop_;
  RunDisplay display_;
  std::unique_ptr<RunSaver> saver_;
  std::unique_ptr<BatchFeed> feed_;
};

}  // namespace maskedkd
