// maskedkd_pack with faults at sampled file-system calls below its output: when it was killed, got an error or lost
// power, the next start completes the bytes of an undisturbed packing. MASKEDKD_FAULTS=all tries all calls.
#include "faults/faulty_program.hpp"
#include "faults/points.hpp"
#include "faults/tried_programs.hpp"
#include "maskedkd/shards/shard_reader.hpp"
#include "support/digests.hpp"
#include "support/temporary_directory.hpp"

#include <gtest/gtest.h>

#include <map>
#include <optional>

namespace maskedkd::testing {
namespace {

namespace fs = std::filesystem;

class PackFaults : public ::testing::Test {
 protected:
  PackFaults() {
    pack_images(place_.path() / "source", 24);
    fs::create_directory(disk());
    power_cut_.emplace(disk());
    const fs::path log = place_.path() / "log";
    const ProgramEnd end = run_faulty_program(command(disk()), disk(), {}, log);
    EXPECT_EQ(end.exit_code, 0) << end.output;
    operations_ = read_operations(log);
    expected_ = digests_of(set(disk()));
    EXPECT_EQ(expected_.size(), 4U) << "three shards and an index";
    EXPECT_GT(operations_.size(), 30U) << "the calls are not seen: is the library of faults loaded?";
  }

  fs::path disk() const { return place_.path() / "disk"; }
  Arguments command(const fs::path& disk) const { return packing_of(place_.path() / "source", set(disk)); }
  static fs::path set(const fs::path& disk) { return disk / "a" / "set"; }
  // Every existing file is whole, and the next start completes the set.
  void expect_completes(const fs::path& disk) {
    for (const auto& [name, digest] : digests_of(set(disk))) {
      if (name == "index.json") {
        EXPECT_NO_THROW(ShardSet{set(disk)});
      }
      if (name == "index.json" || name.starts_with("shard-")) {
        EXPECT_EQ(digest, expected_.at(name)) << name << " is there, but not whole";
      }
    }
    const ProcessResult result = run_process(command(disk));
    EXPECT_EQ(result.exit_code, 0) << result.output;
    EXPECT_EQ(digests_of(set(disk)), expected_);
  }

  TemporaryDirectory place_;
  std::optional<PowerCut> power_cut_;
  std::vector<Operation> operations_;
  std::map<std::string, std::string> expected_;
};

TEST_F(PackFaults, KilledAtSampledCallsItIsCompletedByTheNextStart) {
  int done = 0;
  for (const FaultPoint& point : chosen_points(kill_points(operations_), 9)) {
    fs::remove_all(disk());
    fs::create_directory(disk());
    const ProgramEnd end = run_faulty_program(command(disk()), disk(), point);
    SCOPED_TRACE(point.text() + ", " + end.call);
    EXPECT_EQ(end.exit_code, 137) << end.output;
    expect_completes(disk());
    ++done;
  }
  std::printf("%d kills\n", done);
  EXPECT_GT(done, 5);
}

TEST_F(PackFaults, AfterErrorsAtSampledCallsItIsCompletedByTheNextStart) {
  int done = 0, num_reported = 0;
  for (const FaultPoint& point : chosen_points(error_points(operations_), 10)) {
    fs::remove_all(disk());
    fs::create_directory(disk());
    const ProgramEnd end = run_faulty_program(command(disk()), disk(), point);
    SCOPED_TRACE(point.text() + ", " + end.call);
    EXPECT_GE(end.fired, 1U);
    if (end.exit_code == 0) {
      EXPECT_EQ(digests_of(set(disk())), expected_);
    } else {
      EXPECT_FALSE(is_harmless(point)) << end.output;
      EXPECT_TRUE(end.exit_code == 1 || end.exit_code == 2) << end.exit_code;
      const std::vector<std::string> lines = error_lines(end.output);
      ASSERT_EQ(lines.size(), 1U) << end.output;
      EXPECT_NE(lines[0].find(disk().string()), std::string::npos) << lines[0];
      EXPECT_NE(lines[0].find("; "), std::string::npos) << "no hint: " << lines[0];
      ++num_reported;
    }
    expect_completes(disk());
    ++done;
  }
  std::printf("%d errors, %d of them ended the packing with a line\n", done, num_reported);
  EXPECT_GT(num_reported, 3);
}

TEST_F(PackFaults, AfterPowerCutsAtSampledCallsItIsCompletedByTheNextStart) {
  struct Cut {
    std::size_t after;
    Survival survival;
  };
  std::vector<Cut> cuts;
  for (std::size_t after = 0; after <= operations_.size(); ++after) {
    for (const Survival survival : {Survival::synced_only, Survival::prefixes, Survival::random}) {
      cuts.push_back({after, survival});
    }
  }
  const fs::path after_cut = place_.path() / "after";
  int done = 0;
  for (const Cut& cut : chosen_points(cuts, 9)) {
    SCOPED_TRACE("after " + std::to_string(cut.after) + ", variant " + std::to_string(static_cast<int>(cut.survival)));
    power_cut_->rebuild(operations_, cut.after, cut.survival, cut.after, after_cut);
    expect_completes(after_cut);
    fs::remove_all(after_cut);
    ++done;
  }
  std::printf("%d power cuts\n", done);
  EXPECT_GT(done, 5);
  power_cut_->rebuild(operations_, operations_.size(), Survival::synced_only, 0, after_cut);
  EXPECT_NO_THROW(ShardSet{after_cut / "a" / "set"}) << "the packed set is lost";
}

}  // namespace
}  // namespace maskedkd::testing
