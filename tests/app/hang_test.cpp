// Ranks of the real program hang: the job must end by itself with 85, name the rank that hung and its activity, and
// resume afterwards with the same bits.
#include "app/training_run.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <random>
#include <regex>
#include <set>
#include <thread>

namespace maskedkd::testing {
namespace {

namespace fs = std::filesystem;

constexpr int kSteps = 48;
constexpr double kTimeout_s = 4;
constexpr double kMayTake_s = 20;  // beyond the timeout, on a busy machine

int count_of(const char* variable, int otherwise) {
  const char* text = std::getenv(variable);
  return text != nullptr ? std::atoi(text) : otherwise;
}

class Hang : public TrainingRun {
 protected:
  // environment: NAME=VALUE for every rank; it may preload the shim.
  static Arguments command(int ranks, const std::string& name, const Arguments& environment = {},
                           const Arguments& more = {}) {
    Arguments flags = {"--hang-timeout", std::to_string(static_cast<int>(kTimeout_s)), "--checkpoint-steps", "3"};
    flags.insert(flags.end(), more.begin(), more.end());
    Arguments all = on_ranks(ranks, "maskedkd_train", student_arguments(data(), teacher(), run_folder(name), flags));
    if (!environment.empty()) {
      Arguments preload = {"env", "LD_PRELOAD=" MASKEDKD_HANG_SHIM};
      preload.insert(preload.end(), environment.begin(), environment.end());
      all.insert(all.begin() + 3, preload.begin(), preload.end());
    }
    return all;
  }
  static fs::path undisturbed_on(int ranks) {
    const std::string name = "undisturbed-" + std::to_string(ranks);
    if (!fs::exists(run_folder(name))) {
      const ProcessResult result = run_process(command(ranks, name));
      EXPECT_EQ(result.exit_code, 0) << result.output;
      whole_s = result.seconds;
    }
    return run_folder(name);
  }
  static void finish(int ranks, const std::string& name) {
    const fs::path expected = undisturbed_on(ranks);
    const ProcessResult finished = run_process(command(ranks, name));
    ASSERT_EQ(finished.exit_code, 0) << finished.output;
    expect_same_run(expected, run_folder(name), kSteps);
    fs::remove_all(run_folder(name));
  }

  inline static double whole_s = 0;
};

// The process of that rank that writes into that folder; 0: there is none (yet).
int process_of(int rank, const fs::path& folder) {
  for (const auto& entry : fs::directory_iterator("/proc")) {
    const int process = std::atoi(entry.path().filename().c_str());
    std::error_code gone;
    if (process == 0 || fs::read_symlink(entry.path() / "exe", gone).filename() != "maskedkd_train") {
      continue;
    }
    const std::string arguments = file_bytes(entry.path() / "cmdline");
    const std::string environment = '\0' + file_bytes(entry.path() / "environ");
    const std::string variable = std::string("\0OMPI_COMM_WORLD_RANK=", 22) + std::to_string(rank) + '\0';
    if (arguments.find(folder.string() + '\0') != std::string::npos &&
        environment.find(variable) != std::string::npos) {
      return process;
    }
  }
  return 0;
}

// The step of the newest checkpoint; 0: the run has begun; -1: not yet.
int newest_step(const fs::path& run) {
  int step = fs::exists(run / "status.json") ? 0 : -1;
  std::error_code missing;
  for (const auto& entry : fs::directory_iterator(run / "checkpoints", missing)) {
    int number = 0;
    if (std::sscanf(entry.path().filename().c_str(), "step-%9d", &number) == 1) {
      step = std::max(step, number);
    }
  }
  return step;
}

std::set<int> named(const std::string& output) {
  std::set<int> ranks;
  const std::regex pattern("rank (\\d+) on host");
  for (std::sregex_iterator found(output.begin(), output.end(), pattern), end; found != end; ++found) {
    ranks.insert(std::stoi((*found)[1]));
  }
  return ranks;
}

void expect_named(const ProcessResult& result, int rank, const std::string& doing) {
  EXPECT_EQ(result.exit_code, 85) << result.output;
  EXPECT_EQ(named(result.output), std::set<int>{rank}) << result.output;
  EXPECT_TRUE(std::regex_search(result.output, std::regex("rank \\d+ on host \\S+ " + doing))) << result.output;
}

// Hangs of each kind in turn, on two and three ranks, each rank in turn. MASKEDKD_HANGS and MASKEDKD_QUIET set the
// counts.
TEST_F(Hang, IsNamedAndEndsTheJobWhichIsResumedWithTheSameBits) {
  const int hangs = count_of("MASKEDKD_HANGS", 6);
  std::mt19937 random(20241125);
  const auto between = [&](int least, int most) { return std::uniform_int_distribution(least, most)(random); };
  double longest_s = 0;
  for (int hang = 0; hang < hangs && !HasFailure(); ++hang) {
    const int ranks = 2 + hang / 3 % 2;
    const int rank = hang / 6 < ranks ? (hang / 6 + hang) % ranks : between(0, ranks - 1);
    const std::string name = "hang-" + std::to_string(hang);
    SCOPED_TRACE(name + ": rank " + std::to_string(rank) + " of " + std::to_string(ranks));
    undisturbed_on(ranks);
    if (hang % 3 == 0) {
      BackgroundProcess training(command(ranks, name));
      const int step = 3 * between(0, 8);  // well before the end, as the launcher handles ranks that have left MPI
      int process = 0;
      while (training.running() &&
             ((process = process_of(rank, run_folder(name))) == 0 || newest_step(run_folder(name)) < step)) {
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(between(0, 50)));
      ASSERT_TRUE(process > 0 && kill(process, SIGSTOP) == 0) << training.wait(0).output;
      const auto stopped = std::chrono::steady_clock::now();
      const ProcessResult result = training.wait(kTimeout_s + kMayTake_s);
      longest_s =
          std::max(longest_s, std::chrono::duration<double>(std::chrono::steady_clock::now() - stopped).count());
      expect_named(result, rank, "has not responded for \\d s \\(.*; last: \\w+");
    } else if (hang % 3 == 1) {
      const int records = 256 * 6 / ranks;
      const ProcessResult result =
          run_process(command(ranks, name,
                              {"HANG_CALL=pread", "HANG_RANK=" + std::to_string(rank),
                               "HANG_NUMBER=" + std::to_string(between(records / 10, records * 3 / 4))}),
                      whole_s + kTimeout_s + kMayTake_s);
      expect_named(result, rank, "has hung for \\d s: step \\d+: waiting for data\\b");
      EXPECT_NE(result.output.find(fmt::format("[rank {}] the main thread's stack:", rank)), std::string::npos);
      EXPECT_NE(result.output.find("Loader4next"), std::string::npos) << "the stack's names\n" << result.output;
    } else {
      const bool in_exchange = between(0, 1) == 0;
      const ProcessResult result =
          run_process(command(ranks, name,
                              {in_exchange ? "HANG_CALL=MPI_Sendrecv" : "HANG_CALL=MPI_Allgather",
                               "HANG_RANK=" + std::to_string(rank), "HANG_NUMBER=" + std::to_string(between(8, 40))}),
                      whole_s + kTimeout_s + kMayTake_s);
      expect_named(
          result, rank,
          std::string("has hung for \\d s: .*, waits for the others in ") + (in_exchange ? "exchange" : "all_gather"));
    }
    finish(ranks, name);
  }
  std::printf("%d hangs; the longest took %.1f s from SIGSTOP to the end of the job\n", hangs, longest_s);
}

// The kernel accepts the other ranks' connections, but the watchdog of rank 0 never answers.
TEST_F(Hang, RankZeroThatNeverAnswersIsNamed) {
  const ProcessResult result = run_process(
      command(2, "no-answer", {"HANG_CALL=accept4", "HANG_RANK=0"}, {"--epochs", "1000"}), kTimeout_s + kMayTake_s);
  expect_named(result, 0, "has not responded for \\d s");
}

TEST_F(Hang, NothingIsReportedAboutARunWithoutHang) {
  const int runs = count_of("MASKEDKD_QUIET", 3);
  for (int run = 0; run < runs && !HasFailure(); ++run) {
    const int ranks = 1 + run % 3;
    const std::string name = "quiet-" + std::to_string(run);
    const ProcessResult result = run_process(command(ranks, name));
    ASSERT_EQ(result.exit_code, 0) << result.output;
    EXPECT_EQ(named(result.output), std::set<int>{}) << result.output;
    EXPECT_EQ(result.output.find("watchdog"), std::string::npos) << result.output;
    fs::remove_all(run_folder(name));
  }
}

// A micro-batch of four records takes longer than the timeout.
TEST_F(Hang, ASlowDiskIsNoHang) {
  const ProcessResult result =
      run_process(command(2, "slow-disk", {"HANG_CALL=pread", "HANG_MS=1500"},
                          {"--stop-after-steps", "1", "--prefetch", "1", "--batch-size", "8", "--micro-batch", "4"}),
                  120);
  EXPECT_EQ(result.exit_code, 85) << result.output;
  EXPECT_EQ(named(result.output), std::set<int>{}) << result.output;
  EXPECT_NE(result.output.find("stopped after step 1 "), std::string::npos) << result.output;
}

TEST_F(Hang, ALongEvaluationIsNoHang) {
  const fs::path eval = place->path() / "eval";
  pack_images(eval, 96);
  const ProcessResult result =
      run_process(command(2, "long-evaluation", {"HANG_CALL=pread", "HANG_MS=100", "HANG_PATH=/eval/shard-"},
                          {"--eval-data-path", eval, "--eval-batch", "48", "--epochs", "1"}),
                  120);
  EXPECT_EQ(result.exit_code, 0) << result.output;
  EXPECT_EQ(named(result.output), std::set<int>{}) << result.output;
}

}  // namespace
}  // namespace maskedkd::testing
