// maskedkd_train: trains a student, alone or from a masked teacher.
#include "maskedkd/app/train_command.hpp"
#include "maskedkd/base/log.hpp"
#include "maskedkd/base/running_clock.hpp"
#include "maskedkd/cli/run_main.hpp"
#include "maskedkd/comm/mpi_session.hpp"
#include "maskedkd/comm/threads.hpp"
#include "maskedkd/data/tensor_memory.hpp"
#include "maskedkd/train/device_setup.hpp"
#include "maskedkd/train/memory_hint.hpp"
#include "maskedkd/train/micro_batch_source.hpp"
#include "maskedkd/train/stop_signal.hpp"
#include "maskedkd/train/trainer.hpp"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <c10/util/Exception.h>

#include <cstdio>
#include <cstdlib>

namespace maskedkd {
namespace {

void print_plan(const MpiSession& session, const TrainCommand& command, at::Device device, int threads) {
  const TrainOptions& train = command.train;
  std::string options;
  for (const OptionText& option : command.texts) {
    options +=
        fmt::format("{}{}={}", options.empty() ? "" : " ", option.name, option.text.empty() ? "''" : option.text);
  }
  spdlog::info("options: {}", options);
  const std::vector<std::string> gpus = gpu_names(session, device);
  spdlog::info("{} ranks on {} with {} threads each; {} images a step in micro-batches of {}", session.size(),
               device.is_cuda() ? describe_gpus(gpus, session.size()) : "CPUs", threads, train.global_batch,
               train.micro_batch);
  if (train.eval_data_path.empty()) {
    spdlog::info(
        "nothing is evaluated: there is no --eval-data-path, and --data-path is not a folder that contains val");
  }
  if (train.schedule.warmup_epochs >= train.schedule.epochs) {
    log_on_rank_0(spdlog::level::warn,
                  fmt::format("--warmup-epochs {} is the whole run of {} epochs: the learning rate never reaches --lr",
                              train.schedule.warmup_epochs, train.schedule.epochs));
  }
  spdlog::info("student of {} parameters, {} classes, {} patches{}", count_parameters(train.student),
               train.student.num_classes, train.student.num_patches(),
               train.distillation.type == DistillationType::none ? "; no teacher" : "");
}

int train(const MpiSession& session, int argc, char** argv) {
  std::string help;
  std::optional<TrainCommand> command = TrainCommand::parse(argc, argv, help);
  if (!command) {
    if (session.rank() == 0) {
      std::fputs(help.c_str(), stdout);
    }
    return 0;
  }
  command->train.validate(session.size());
  if (command->train.deterministic) {
    setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8", /*overwrite=*/0);  // until set_up_device()
    at::globalContext().setDeterministicAlgorithms(true, /*warn_only=*/false);
    at::globalContext().setDeterministicCuDNN(true);
    at::globalContext().setDeterministicFillUninitializedMemory(false);  // nothing here reads what it has not written
  }
  if (is_finished(session, command->train, command->texts)) {
    return static_cast<int>(ExitCode::finished);
  }
  const at::Device device = choose_device(session, command->device);
  const int threads = command->threads > 0 ? command->threads : threads_for_rank(session);
  at::set_num_threads(threads);
  if (command->train.num_workers == 0) {
    command->train.num_workers = loader_threads_for_rank(session, device.is_cuda());
  }
  const MicroBatchShare share =
      micro_batch_share(command->train.micro_batches_per_step(), session.rank(), session.size());
  command->set_texts({{"device", device.is_cuda() ? "cuda" : "cpu"},
                      {"threads", std::to_string(threads)},
                      {"workers", std::to_string(command->train.num_workers)},
                      {"prefetch", std::to_string(command->train.micro_batches_ahead(share.last - share.first))}});
  print_plan(session, *command, device, threads);
  try {
    set_up_device(device);
    Trainer trainer(session, command->train, command->texts, device);
    return static_cast<int>(trainer.run());
  } catch (const c10::OutOfMemoryError& error) {  // its line says how much was requested and how much is free
    const std::string text = error.what();
    throw Error(text.substr(0, text.find('\n')), memory_hint(command->train));
  }
}

}  // namespace
}  // namespace maskedkd

int main(int argc, char** argv) {
  maskedkd::reuse_tensor_memory();
  maskedkd::RunningClock::start();
  maskedkd::watch_stop_signals();  // before anything slow: a signal that comes early must not kill
  return maskedkd::run_main(argc, argv, maskedkd::train);
}
