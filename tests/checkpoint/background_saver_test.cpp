// Saves in the background, by one writer or several, give the same checkpoints; failures are reported and harmless.
#include "maskedkd/checkpoint/background_saver.hpp"

#include "example.hpp"

#include <chrono>
#include <thread>

namespace maskedkd::testing {
namespace {

using namespace std::chrono_literals;

TEST(BackgroundSaver, SavesMarksTheBestAndRetainsTheNewest) {
  const RunFolder run;
  BackgroundSaver saver(&run.lease(), run.lease().staging_folder(), run.path(), {2});
  EXPECT_FALSE(saver.busy());
  EXPECT_FALSE(saver.take_result());
  for (std::int64_t step = 1; step <= 5; ++step) {
    saver.start(example_state(step), step == 2);
    const auto result = saver.wait();
    ASSERT_TRUE(result);
    EXPECT_EQ(result->error, "");
    EXPECT_EQ(result->path, checkpoint_path(run.path(), step));
    EXPECT_GT(result->seconds, 0);
    EXPECT_FALSE(saver.take_result()) << "reported once";
  }
  EXPECT_EQ(names_in(run.path()),
            (std::set<std::string>{"best", "step-000000002", "step-000000004", "step-000000005"}));
  EXPECT_TRUE(is_example_state(load_checkpoint(run.path() / "best"), 2));
  EXPECT_FALSE(has_leftovers(run.path()));
}

TEST(BackgroundSaver, AFailureIsReportedAndTheNextSaveWorks) {
  const RunFolder run;
  BackgroundSaver saver(&run.lease(), run.lease().staging_folder(), run.path(), {2});
  saver.start(example_state(1), false);
  ASSERT_EQ(saver.wait()->error, "");
  write_bytes(run.lease().staging_folder() / "step-000000002-attempt-0", "somebody's file stands in the way");
  saver.start(example_state(2), false);
  const auto failed = saver.wait();
  EXPECT_NE(failed->error.find("can't save a checkpoint in"), std::string::npos) << failed->error;
  EXPECT_NE(failed->error.find("earlier checkpoints are untouched"), std::string::npos) << failed->error;
  EXPECT_TRUE(failed->path.empty());
  EXPECT_FALSE(failed->fenced);
  saver.start(example_state(3), false);
  EXPECT_EQ(saver.wait()->error, "");
  EXPECT_TRUE(is_example_state(*find_newest_checkpoint(run.path(), nothing_is_damaged), 3));
}

TEST(BackgroundSaver, SavesNothingAfterItsLeaseIsTakenOver) {
  const TemporaryDirectory run;
  LeaseOwner owner = this_process("a test");
  owner.job = "17";
  const Lease old(run.path(), owner);
  BackgroundSaver saver(&old, old.staging_folder(), run.path(), {2});
  owner.restarts = 1;
  const Lease now(run.path(), owner);
  saver.start(example_state(1), true);
  const auto result = saver.wait();
  EXPECT_TRUE(result->fenced) << result->error;
  EXPECT_TRUE(list_checkpoints(run.path()).empty());
}

// The part of one writer, as the trainer splits a state.
CheckpointContent part_of(const CheckpointContent& whole, int writer, int num_writers, std::uint64_t largest_bytes) {
  CheckpointContent part;
  part.step = whole.step;
  part.state_json = whole.state_json;
  for (const PlannedFile& file : plan_checkpoint_files(whole.groups, num_writers, largest_bytes, {"model"})) {
    const NamedTensors& tensors = whole.groups.at(file.group);
    if (file.writer == writer) {
      part.groups[file.stem] = NamedTensors(tensors.begin() + static_cast<std::ptrdiff_t>(file.first),
                                            tensors.begin() + static_cast<std::ptrdiff_t>(file.last));
    } else {
      part.elsewhere.insert(file.stem);
    }
  }
  return part;
}

TEST(BackgroundSaver, SeveralWritersMakeOneCheckpoint) {
  for (const int num_writers : {1, 2, 3, 5}) {
    for (const std::uint64_t largest_bytes : {64, 300, 1 << 20}) {
      const RunFolder run;
      const CheckpointContent whole = example_state(9, 20);
      std::vector<std::unique_ptr<BackgroundSaver>> savers;
      for (int writer = 0; writer < num_writers; ++writer) {
        savers.push_back(std::make_unique<BackgroundSaver>(
            writer == 0 ? &run.lease() : nullptr, run.lease().staging_folder(), run.path(), RetentionOptions{2}));
      }
      for (int writer = 0; writer < num_writers; ++writer) {  // writer 0 waits for the others
        savers[static_cast<std::size_t>(writer)]->start(part_of(whole, writer, num_writers, largest_bytes), false);
        std::this_thread::sleep_for(5ms);
      }
      for (const auto& saver : savers) {
        ASSERT_EQ(saver->wait()->error, "");
      }
      EXPECT_TRUE(is_example_state(load_checkpoint(checkpoint_path(run.path(), 9)), 9, 20));
      EXPECT_TRUE(fs::exists(checkpoint_path(run.path(), 9) / "model.safetensors"));
      EXPECT_EQ(names_in(checkpoint_path(run.path(), 9)).size() > 5, num_writers > 1 && largest_bytes < 1000);
      EXPECT_FALSE(has_leftovers(run.path()));
    }
  }
}

TEST(BackgroundSaver, WaitingEndsIfAnotherWriterFailed) {
  const RunFolder run;
  const CheckpointContent whole = example_state(9, 20);
  BackgroundSaver first(&run.lease(), run.lease().staging_folder(), run.path(), {2});
  first.start(part_of(whole, 0, 2, 64), false);
  std::this_thread::sleep_for(100ms);
  EXPECT_TRUE(first.busy());
  first.cancel();
  EXPECT_NE(first.wait()->error.find("another rank could not write"), std::string::npos);
  EXPECT_TRUE(list_checkpoints(run.path()).empty());
  EXPECT_FALSE(has_leftovers(run.path()));
  // The destructor does not wait forever either.
  {
    BackgroundSaver going(&run.lease(), run.lease().staging_folder(), run.path(), {2});
    going.start(part_of(whole, 0, 2, 64), false);
  }
  EXPECT_TRUE(list_checkpoints(run.path()).empty());
}

// Every tensor appears once, in order; at least one file per group, no more files than writers; `whole` in one file.
TEST(PlanCheckpointFiles, CoversEverythingOnce) {
  for (int writers = 1; writers <= 9; ++writers) {
    for (const std::uint64_t largest : {1, 50, 500, 5000}) {
      const CheckpointContent content = example_state(writers, 30);
      std::map<std::string, std::size_t> next;
      std::map<std::string, int> files;
      for (const PlannedFile& file : plan_checkpoint_files(content.groups, writers, largest, {"model"})) {
        EXPECT_EQ(file.first, next[file.group]);
        EXPECT_LT(file.first, file.last);
        EXPECT_TRUE(file.writer >= 0 && file.writer < writers);
        next[file.group] = file.last;
        ++files[file.group];
      }
      for (const auto& [group, tensors] : content.groups) {
        EXPECT_EQ(next[group], tensors.size()) << group;
        EXPECT_LE(files[group], writers);
      }
      EXPECT_EQ(files["model"], 1);
    }
  }
}

}  // namespace
}  // namespace maskedkd::testing
