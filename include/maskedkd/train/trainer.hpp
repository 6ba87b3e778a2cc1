// The training loop: what each rank does, step by step, from wherever the run is to its end or to a stop. It calls its
// collaborators and decides with them; what each of them does is in its own header:
//
//   run_data       the packed sets              stop_policy   when to stop
//   model_state    weights, optimizer, average  run_saver     checkpoints
//   step_report    what ranks tell one another  run_display   progress and status
//   resume         from a checkpoint to a state
//
// trainer.cpp: the loop. trainer_start.cpp: how it is put together.
#pragma once

#include "maskedkd/base/error.hpp"
#include "maskedkd/comm/communicator.hpp"
#include "maskedkd/data/loader.hpp"
#include "maskedkd/data/sampler.hpp"
#include "maskedkd/distill/teacher.hpp"
#include "maskedkd/train/distillation_step.hpp"
#include "maskedkd/train/evaluator.hpp"
#include "maskedkd/train/micro_batch_source.hpp"
#include "maskedkd/train/model_state.hpp"
#include "maskedkd/train/run_data.hpp"
#include "maskedkd/train/run_display.hpp"
#include "maskedkd/train/run_folder.hpp"
#include "maskedkd/train/run_saver.hpp"
#include "maskedkd/train/run_state.hpp"
#include "maskedkd/train/step_report.hpp"
#include "maskedkd/train/stop_policy.hpp"
#include "maskedkd/train/train_options.hpp"
#include "maskedkd/watchdog/watchdog.hpp"

#include <memory>
#include <optional>

namespace maskedkd {

class MpiSession;

class Trainer {
 public:
  // Collective. Opens the data, builds student and teacher, restores the newest checkpoint. texts: the resolved
  // options, kept in every checkpoint. Throws Error.
  Trainer(const MpiSession& session, const TrainOptions& options, const OptionTexts& texts, at::Device device);
  ~Trainer();

  // Collective. finished: all epochs are done. requeue: a stop signal came, a checkpoint is written. Throws Error, with
  // no_requeue where the loss or the gradient is not finite.
  ExitCode run();

 private:
  // Which micro-batches there are, and which of each step are this rank's.
  struct BatchPlan {
    SamplerOptions sampler;
    MicroBatchShare share;
  };
  // The communicator, and the watchdog's watch over it.
  struct WatchedCommunicator {
    std::unique_ptr<Communicator> communicator;
    Watchdog::Watched watched;
  };

  bool train_step();  // whether the run is to stop
  at::Tensor summed_gradient(std::vector<double>& losses);
  at::Tensor gradient_tree(int first, int last, std::vector<double>& losses);
  void add_micro_batch(const at::Tensor& gradient, std::vector<double>& losses);
  StepReport exchange_report(std::vector<double> losses);
  void update_weights(at::Tensor& gradient);
  double learning_rate(std::int64_t step) const;
  bool is_done() const { return state_.epoch >= options_.schedule.epochs; }

  bool finish_epoch();  // whether the run is to stop; the epoch is then not finished where the evaluation was not
  std::optional<EvaluationResult> evaluate_student(const std::string& title);
  ExitCode end_run();
  bool stop_requested();
  void show(const std::string& phase);
  void report_activity(const char* what) const;  // of the running step, to the watchdog

  RunState described(const OptionTexts& texts) const;  // this start, at the beginning of a run
  std::optional<LoadedCheckpoint> find_checkpoint();   // what this start goes on from
  void begin();                                        // with first weights, drawn or given
  void resume(const LoadedCheckpoint& checkpoint);
  void make_replicas_equal();
  std::unique_ptr<RunSaver> make_saver();
  std::unique_ptr<Loader> make_loader() const;

  const MpiSession& session_;
  const TrainOptions options_;
  RunFolder folder_;
  Watchdog watchdog_;
  RunData data_;
  BatchPlan plan_;
  ModelState model_;
  std::optional<Teacher> teacher_;
  DistillationStep distillation_;
  WatchedCommunicator ranks_;
  RunState state_;
  StopPolicy stop_;
  RunDisplay display_;
  std::unique_ptr<RunSaver> saver_;
  std::unique_ptr<Loader> loader_;
};

}  // namespace maskedkd
