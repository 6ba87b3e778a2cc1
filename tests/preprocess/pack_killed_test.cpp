// A packing is killed at sampled moments: no incomplete set passes for a finished one, and the next start completes the
// same bytes.
#include "maskedkd/base/error.hpp"
#include "maskedkd/io/posix.hpp"
#include "maskedkd/shards/shard_reader.hpp"
#include "pack_program.hpp"
#include "support/temporary_directory.hpp"

#include <gtest/gtest.h>
#include <signal.h>

#include <cctype>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <random>
#include <thread>

namespace maskedkd::testing {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

constexpr int kShards = 21;

class PackKilled : public ::testing::Test {
 protected:
  PackKilled() {
    const fs::path whole = folder_.path() / "whole";
    const ProcessResult result = run_pack(0, arguments_for(whole));
    EXPECT_EQ(result.exit_code, 0) << result.output;
    expected_ = digests_of(whole);
    EXPECT_EQ(expected_.size(), kShards + 1u);
  }

  std::vector<std::string> arguments_for(const fs::path& out) const {
    return {"--data-path", reference_path("plain").string(), "--output-dir", out.string(), "--records-per-shard", "3"};
  }

  static int num_shards(const fs::path& out) {
    int count = 0;
    std::error_code ignored;
    for (const auto& entry : fs::directory_iterator(out, ignored)) {
      count += entry.path().filename().string().starts_with("shard-") ? 1 : 0;
    }
    return count;
  }

  // The processes of maskedkd_pack whose command line contains `out`.
  static std::vector<pid_t> packers_of(const fs::path& out) {
    std::vector<pid_t> found;
    for (const auto& entry : fs::directory_iterator("/proc")) {
      const std::string name = entry.path().filename().string();
      std::ifstream file(entry.path() / "cmdline", std::ios::binary);
      const std::string line((std::istreambuf_iterator<char>(file)), {});
      const std::string program = line.substr(0, line.find('\0'));
      if (std::isdigit(static_cast<unsigned char>(name[0])) && program.ends_with("/maskedkd_pack") &&
          line.find(out.string()) != std::string::npos) {
        found.push_back(std::stoi(name));
      }
    }
    return found;
  }

  // After a kill there is no set, or, if the index was written, the whole set. Then starts the packing again.
  void expect_unharmed(const fs::path& out, int ranks) {
    if (fs::exists(out / "index.json")) {
      EXPECT_NO_THROW(ShardSet{out});
    } else {
      ++num_unfinished_;
      EXPECT_THROW(ShardSet{out}, Error);
    }
    num_partial_ += num_shards(out) > 0 && !fs::exists(out / "index.json") ? 1 : 0;
    for (const auto& [name, digest] : digests_of(out)) {
      if (name.starts_with("shard-")) {
        EXPECT_EQ(digest, expected_.at(name)) << name << " is there, but not whole";
      }
    }
    const ProcessResult result = run_pack(ranks, arguments_for(out));
    ASSERT_EQ(result.exit_code, 0) << result.output;
    EXPECT_EQ(digests_of(out), expected_);
  }

  TemporaryDirectory folder_;
  std::map<std::string, std::string> expected_;
  int num_unfinished_ = 0, num_partial_ = 0;
};

TEST_F(PackKilled, AfterEveryFourthShardItIsCompletedByTheNextStart) {
  for (int wanted = 0; wanted < kShards; wanted += 4) {
    const fs::path out = folder_.path() / ("after-" + std::to_string(wanted));
    BackgroundProcess packer(pack_command(0, arguments_for(out)));
    while (packer.running() && num_shards(out) < wanted) {
      std::this_thread::sleep_for(200us);
    }
    packer.signal(SIGKILL);
    packer.wait();
    expect_unharmed(out, 0);
  }
  std::printf("%d packings had not ended, %d of them had left shards\n", num_unfinished_, num_partial_);
  EXPECT_GE(num_partial_, 3);
}

// Finished shards of an interrupted packing are not deleted because of a mistyped flag.
TEST_F(PackKilled, OtherOptionsDoNotReplaceAnUnfinishedSet) {
  const fs::path out = folder_.path() / "other";
  const ProcessResult whole = run_pack(0, arguments_for(out));
  ASSERT_EQ(whole.exit_code, 0) << whole.output;
  fs::remove(out / "index.json");  // as if it had been killed just before: the shards, their set, one note
  write_file_atomically(out / ".packing", "0123");
  write_file_atomically(out / ".packed-shard-00000.json", "{}");
  const auto shards = digests_of(out);
  const ProcessResult refused = run_pack(0, arguments_for(out));
  EXPECT_EQ(refused.exit_code, 2);
  EXPECT_NE(refused.output.find("contains an interrupted packing of other images"), std::string::npos)
      << refused.output;
  EXPECT_EQ(digests_of(out), shards);
  fs::remove(out / ".packing");
  expect_unharmed(out, 0);
  EXPECT_FALSE(fs::exists(out / ".packing"));
}

TEST_F(PackKilled, AfterRandomTimesItIsCompletedByTheNextStart) {
  const char* setting = std::getenv("MASKEDKD_KILLS");
  const int num_kills = setting != nullptr ? std::atoi(setting) : 4;
  std::mt19937 random(1);
  for (int trial = 0; trial < num_kills; ++trial) {
    const fs::path out = folder_.path() / ("delay-" + std::to_string(trial));
    BackgroundProcess packer(pack_command(0, arguments_for(out)));
    while (packer.running() && !fs::exists(out / ".lock")) {  // skip the start of MPI
      std::this_thread::sleep_for(200us);
    }
    std::this_thread::sleep_for(std::chrono::microseconds(random() % 150000));
    packer.signal(SIGKILL);
    packer.wait();
    expect_unharmed(out, 0);
  }
  std::printf("%d of %d packings had not ended\n", num_unfinished_, num_kills);
}

TEST_F(PackKilled, KillingOneRankOfTwoEndsTheJobAndTheNextStartCompletesIt) {
  for (const int wanted : {1, 10}) {
    const fs::path out = folder_.path() / ("rank-" + std::to_string(wanted));
    BackgroundProcess packer(pack_command(2, arguments_for(out)));
    while (packer.running() && num_shards(out) < wanted) {
      std::this_thread::sleep_for(200us);
    }
    const std::vector<pid_t> ranks = packers_of(out);
    if (!ranks.empty()) {
      kill(ranks[static_cast<std::size_t>(wanted) % ranks.size()], SIGKILL);
    }
    const ProcessResult result = packer.wait(20);
    EXPECT_LT(result.exit_code, 137 + 1) << result.output;
    for (int i = 0; i < 1000 && !packers_of(out).empty(); ++i) {
      std::this_thread::sleep_for(10ms);
    }
    EXPECT_TRUE(packers_of(out).empty()) << "a rank outlived the job";
    expect_unharmed(out, 3);
  }
  EXPECT_GE(num_partial_, 1);
}

}  // namespace
}  // namespace maskedkd::testing
