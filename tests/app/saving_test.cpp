// Saving during a training: full disks, stops in an evaluation or before the first step, time limits, the mark of a
// finished run, restarts without progress, state split into files of several ranks.
#include "app/training_run.hpp"
#include "maskedkd/checkpoint/checkpoint.hpp"

#include <sys/mount.h>
#include <nlohmann/json.hpp>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <fstream>
#include <thread>

namespace maskedkd::testing {
namespace {

namespace fs = std::filesystem;

constexpr int kSteps = 48;  // of the whole run

class Saving : public TrainingRun {
 protected:
  void TearDown() override {
    for (const char* name : {"SLURM_JOB_ID", "SLURM_RESTART_COUNT", "MASKEDKD_JOB_END"}) {
      unsetenv(name);
    }
  }
};

bool prints(const ProcessResult& result, const std::string& part) {
  return result.output.find(part) != std::string::npos;
}

template <typename Condition>
bool wait_for(BackgroundProcess& process, const Condition& condition) {
  while (process.running() && !condition()) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return condition();
}

nlohmann::json status_of(const fs::path& run) {
  std::error_code none;
  return fs::exists(run / "status.json", none) ? nlohmann::json::parse(file_bytes(run / "status.json"))
                                               : nlohmann::json::object();
}

// A tmpfs mounted as a run's folder; only root can mount one.
class OwnDisk {
 public:
  OwnDisk(const fs::path& folder, const char* size) : folder_(folder) {
    fs::create_directories(folder);
    mounted_ = mount("tmpfs", folder.c_str(), "tmpfs", 0, size) == 0;
  }
  ~OwnDisk() {
    if (mounted_) {
      umount2(folder_.c_str(), MNT_DETACH);
    }
  }
  bool mounted() const { return mounted_; }
  void fill_up_to(std::uint64_t free_bytes) const {
    std::ofstream filler(folder_ / "filler", std::ios::binary);
    const std::string block(4096, 'x');
    while (fs::space(folder_).available > free_bytes && filler.write(block.data(), 4096).flush()) {
    }
  }

 private:
  fs::path folder_;
  bool mounted_ = false;
};

TEST_F(Saving, AFullDiskCostsCheckpointsAndNotTheRun) {
  const fs::path expected = undisturbed("plain");
  const OwnDisk disk(run_folder("full"), "size=8m");
  if (!disk.mounted()) {
    GTEST_SKIP() << "no file system can be mounted here";
  }
  BackgroundProcess training(alone("full", {"--checkpoint-steps", "1"}));
  ASSERT_TRUE(wait_for(training, [&] { return !newest("full").empty(); }));
  disk.fill_up_to(200 << 10);
  std::this_thread::sleep_for(std::chrono::milliseconds(400));
  fs::remove(run_folder("full") / "filler");
  const ProcessResult finished = training.wait();
  EXPECT_EQ(finished.exit_code, 0) << finished.output;
  EXPECT_TRUE(prints(finished, "not enough space for a checkpoint") &&
              prints(finished, "the run continues, and tries again"))
      << finished.output;
  expect_same_run(expected, run_folder("full"), kSteps);
}

TEST_F(Saving, ADiskThatStaysFullEndsTheRunAfterTheAllowedAge) {
  const OwnDisk disk(run_folder("stays-full"), "size=8m");
  if (!disk.mounted()) {
    GTEST_SKIP() << "no file system can be mounted here";
  }
  BackgroundProcess training(
      alone("stays-full", {"--checkpoint-steps", "1", "--max-checkpoint-age", "0.01", "--epochs", "400"}));
  ASSERT_TRUE(wait_for(training, [&] { return !newest("stays-full").empty(); }));
  disk.fill_up_to(200 << 10);
  const ProcessResult ended = training.wait();
  EXPECT_EQ(ended.exit_code, 1) << ended.output;
  EXPECT_TRUE(prints(ended, "no checkpoint could be written for")) << ended.output;
  fs::remove(run_folder("stays-full") / "filler");
  EXPECT_EQ(run_process(alone("stays-full", {"--stop-after-steps", "1", "--epochs", "400"})).exit_code, 85);
}

TEST_F(Saving, ADiskWithoutSpaceIsAnErrorBeforeTheFirstStep) {
  const OwnDisk disk(run_folder("small"), "size=1m");
  if (!disk.mounted()) {
    GTEST_SKIP() << "no file system can be mounted here";
  }
  const ProcessResult refused = train(2, "small");
  EXPECT_EQ(refused.exit_code, 1) << refused.output;
  EXPECT_TRUE(prints(refused, "not enough space for a checkpoint in")) << refused.output;
  EXPECT_FALSE(prints(refused, "epoch 1")) << refused.output;
}

// The state at the end of the epoch is saved before the evaluation, which the next start repeats.
TEST_F(Saving, AStopInAnEvaluationLosesOnlyTheEvaluation) {
  pack_images(run_folder("many"), 4000);
  const Arguments evaluating = {"--eval-data-path", run_folder("many"), "--epochs", "2", "--model-ema-decay", "0.9"};
  const fs::path expected = undisturbed("evaluating", evaluating);
  for (const int signal : {SIGTERM, SIGUSR1, SIGKILL}) {
    const std::string name = "stopped-" + std::to_string(signal);
    BackgroundProcess training(alone(name, evaluating));
    ASSERT_TRUE(wait_for(training, [&] { return newest(name).filename() == "step-000000008"; }));
    training.signal(signal);
    const ProcessResult stopped = training.wait(20);
    EXPECT_EQ(stopped.exit_code, signal == SIGKILL ? 137 : 85) << stopped.output;
    EXPECT_EQ(newest(name).filename(), "step-000000008");
    const ProcessResult on = train(2, name, evaluating);
    EXPECT_EQ(on.exit_code, 0) << on.output;
    EXPECT_EQ(log_without_times(expected), log_without_times(run_folder(name)));
    for (const char* file : {"model.safetensors", "optimizer.safetensors", "ema.safetensors"}) {
      const fs::path last = fs::path("checkpoints") / "step-000000016-evaluated" / file;
      EXPECT_TRUE(file_bytes(expected / last) == file_bytes(run_folder(name) / last)) << file;
    }
    EXPECT_TRUE(fs::read_symlink(run_folder(name) / "checkpoints" / "best").string().ends_with("-evaluated"));
  }
}

TEST_F(Saving, ASignalWhileStartingEndsBeforeTheFirstStep) {
  int ended_by_itself = 0;
  for (int delay_ms = 0; ended_by_itself < 3; delay_ms += 100) {
    ASSERT_LT(delay_ms, 20000);
    BackgroundProcess training(alone("early", {"--checkpoint-steps", "1", "--epochs", "400"}));
    std::this_thread::sleep_for(std::chrono::milliseconds(delay_ms));
    training.signal(SIGTERM);
    training.signal(SIGTERM);
    const ProcessResult stopped = training.wait(20);
    // A signal that arrives while the program is being loaded kills it, before it has done anything.
    EXPECT_TRUE(stopped.exit_code == 85 || (stopped.exit_code == 143 && stopped.output.empty())) << stopped.output;
    ended_by_itself += stopped.exit_code == 85 ? 1 : 0;
  }
  EXPECT_FALSE(fs::exists(run_folder("early") / "finished.json"));
  EXPECT_EQ(run_process(alone("early", {"--stop-after-steps", "3", "--epochs", "400"})).exit_code, 85);
}

TEST_F(Saving, StopsInTimeBeforeTheJobEnds) {
  setenv("MASKEDKD_JOB_END", std::to_string(std::time(nullptr) + 32).c_str(), 1);
  const ProcessResult stopped = train(2, "limited", {"--epochs", "100000"});
  EXPECT_EQ(stopped.exit_code, 85) << stopped.output;
  EXPECT_LT(stopped.seconds, 30);
  EXPECT_TRUE(prints(stopped, "with a checkpoint, before the time limit")) << stopped.output;
  EXPECT_FALSE(newest("limited").empty());
  EXPECT_EQ(status_of(run_folder("limited")).value("state", ""), "stopped");
  unsetenv("MASKEDKD_JOB_END");
  EXPECT_EQ(train(1, "limited", {"--epochs", "100000", "--time-limit", "0:01"}).exit_code, 85);
}

TEST_F(Saving, AFinishedRunHasAMarkThatEndsTheNextStartAtOnce) {
  const fs::path run = undisturbed("plain");
  const auto mark = nlohmann::json::parse(file_bytes(run / "finished.json"));
  EXPECT_EQ(mark["epochs"], 6);
  EXPECT_EQ(mark["global_step"], kSteps);
  EXPECT_EQ(mark["checkpoint"], "step-000000048");
  const nlohmann::json status = status_of(run);
  EXPECT_EQ(status["state"], "finished");
  EXPECT_EQ(status["step"], kSteps);
  EXPECT_EQ(status["last_checkpoint"], "step-000000048");
  // Even without the data and the teacher.
  Arguments again = student_arguments(data(), teacher(), run, {});
  *(std::find(again.begin(), again.end(), "--teacher-path") + 1) = place->path() / "gone";
  const ProcessResult ended = run_process(on_ranks(2, "maskedkd_train", again));
  EXPECT_EQ(ended.exit_code, 0) << ended.output;
  EXPECT_TRUE(prints(ended, "is finished: 6 epochs, 48 steps")) << ended.output;
  const ProcessResult other = train(1, run.filename(), {"--seed", "3"});
  EXPECT_EQ(other.exit_code, 2) << other.output;
  EXPECT_TRUE(prints(other, "--seed 0, now it is 3")) << other.output;
  // A mark that a power cut truncated is ignored; the checkpoint is used.
  fs::copy(run, run_folder("halved"), fs::copy_options::recursive | fs::copy_options::copy_symlinks);
  fs::resize_file(run_folder("halved") / "finished.json", 20);
  const ProcessResult whole = train(1, "halved");
  EXPECT_EQ(whole.exit_code, 0) << whole.output;
  EXPECT_EQ(nlohmann::json::parse(file_bytes(run_folder("halved") / "finished.json"))["global_step"], kSteps);
  fs::remove_all(run_folder("halved") / "checkpoints");
  const ProcessResult without = train(1, "halved");
  EXPECT_EQ(without.exit_code, 0) << without.output;
  EXPECT_TRUE(prints(without, "step-000000048, which no longer exists")) << without.output;
}

// The cluster has killed the job repeatedly before its first new checkpoint: another start would not help.
TEST_F(Saving, RestartsWithoutNewCheckpointEndWith93) {
  pack_images(run_folder("long"), 20000);  // 625 steps an epoch
  const Arguments epochs = {"--data-path", run_folder("long"), "--epochs", "4"};
  // A save that begins after a long pause has not lasted as long as the pause; here it lasts for several steps.
  Arguments seldom = epochs;
  seldom.insert(seldom.end(),
                {"--batch-size", "4", "--micro-batch", "4", "--width", "192", "--heads", "4", "--checkpoint-steps",
                 "600", "--stop-after-steps", "620", "--max-checkpoint-age", "0.05"});
  const ProcessResult patient = train(1, "seldom", seldom);
  EXPECT_EQ(patient.exit_code, 85) << patient.output;
  EXPECT_GT(patient.seconds, 3);
  Arguments five = epochs;
  five.insert(five.end(), {"--stop-after-steps", "5"});
  ASSERT_EQ(train(1, "vain", five).exit_code, 85);
  setenv("SLURM_JOB_ID", "17", 1);
  const auto start_and_kill = [&](int restart) {
    setenv("SLURM_RESTART_COUNT", std::to_string(restart).c_str(), 1);
    const int generation = status_of(run_folder("vain")).value("generation", 0);
    BackgroundProcess training(alone("vain", epochs));
    wait_for(training, [&] { return status_of(run_folder("vain")).value("generation", 0) > generation; });
    training.signal(SIGKILL);
    return training.wait(20);
  };
  const fs::path before = newest("vain");
  for (int restart = 0; restart <= 3; ++restart) {
    ASSERT_EQ(start_and_kill(restart).exit_code, 137) << restart;
    ASSERT_EQ(newest("vain"), before);
  }
  setenv("SLURM_RESTART_COUNT", "4", 1);
  const ProcessResult refused = run_process(alone("vain", epochs));
  EXPECT_EQ(refused.exit_code, 93) << refused.output;
  EXPECT_TRUE(prints(refused, "3 restarts in a row ended without a new checkpoint")) << refused.output;
  // A job that a user submits may continue.
  setenv("SLURM_JOB_ID", "18", 1);
  unsetenv("SLURM_RESTART_COUNT");
  EXPECT_EQ(train(1, "vain", five).exit_code, 85);
}

TEST_F(Saving, LargeStatesAreSplitIntoFilesOfSeveralRanks) {
  const Arguments large = {"--width", "192", "--heads", "4", "--epochs", "1", "--model-ema-decay", "0.9"};
  const fs::path expected = undisturbed("large", large);
  Arguments cut = large;
  cut.insert(cut.end(), {"--checkpoint-file-mb", "1"});
  Arguments stop = cut;
  stop.insert(stop.end(), {"--stop-after-steps", "3"});
  const ProcessResult stopped = train(3, "cut", stop);
  ASSERT_EQ(stopped.exit_code, 85) << stopped.output;
  EXPECT_TRUE(fs::exists(newest("cut") / "optimizer-00003-of-00003.safetensors"));
  EXPECT_TRUE(fs::exists(newest("cut") / "model.safetensors"));
  stop.back() = "2";
  ASSERT_EQ(train(4, "cut", stop).exit_code, 85);
  const ProcessResult finished = train(2, "cut", cut);
  ASSERT_EQ(finished.exit_code, 0) << finished.output;
  // Three ranks added three gradients in another order.
  ASSERT_EQ(train(4, "same", cut).exit_code, 0);
  const LoadedCheckpoint one = load_checkpoint(expected / "checkpoints" / "step-000000008");
  const LoadedCheckpoint other = load_checkpoint(run_folder("same") / "checkpoints" / "step-000000008");
  EXPECT_EQ(log_without_times(expected), log_without_times(run_folder("same")));
  ASSERT_EQ(one.groups.size(), 3u);
  for (const auto& [group, tensors] : one.groups) {
    ASSERT_EQ(tensors.size(), other.groups.at(group).size()) << group;
    for (const auto& [name, tensor] : tensors) {
      const at::Tensor& found = other.groups.at(group).at(name);
      EXPECT_EQ(std::memcmp(tensor.const_data_ptr(), found.const_data_ptr(), tensor.nbytes()), 0) << group << name;
    }
  }
}

// A save takes longer than several of these steps.
TEST_F(Saving, SkippedCheckpointsAreReported) {
  const ProcessResult result = train(1, "left-out",
                                     {"--batch-size", "4", "--micro-batch", "4", "--width", "192", "--heads", "4",
                                      "--epochs", "1", "--checkpoint-steps", "1", "--stop-after-steps", "40"});
  ASSERT_EQ(result.exit_code, 85) << result.output;
  const std::string once = "is skipped, as the previous one is still being written";
  EXPECT_TRUE(prints(result, once)) << result.output;
  EXPECT_EQ(result.output.find(once), result.output.rfind(once)) << result.output;
  EXPECT_TRUE(prints(result, "of 40 checkpoints of --checkpoint-steps 1 were skipped")) << result.output;
}

TEST_F(Saving, AFailedPartOfAnotherRankIsReportedAndRetried) {
  const OwnDisk disk(run_folder("parts-full"), "size=64m");
  if (!disk.mounted()) {
    GTEST_SKIP() << "no file system can be mounted here";
  }
  const Arguments large = {"--width", "192",      "--heads", "4", "--checkpoint-file-mb", "1", "--checkpoint-steps",
                           "1",       "--epochs", "3"};
  BackgroundProcess training(
      on_ranks(2, "maskedkd_train", student_arguments(data(), teacher(), run_folder("parts-full"), large)));
  ASSERT_TRUE(wait_for(training, [&] { return !newest("parts-full").empty(); }));
  disk.fill_up_to(9 << 20);  // enough for the part of rank 0, not for all
  std::this_thread::sleep_for(std::chrono::milliseconds(600));
  fs::remove(run_folder("parts-full") / "filler");
  const ProcessResult finished = training.wait();
  EXPECT_EQ(finished.exit_code, 0) << finished.output;
  EXPECT_EQ(newest("parts-full").filename(), "step-000000024");
  load_checkpoint(newest("parts-full"));
}

}  // namespace
}  // namespace maskedkd::testing
