// The newest N checkpoints and the best one are kept; damaged ones are not counted.
#include "example.hpp"

namespace maskedkd::testing {
namespace {

std::set<std::string> checkpoints_in(const fs::path& root) {
  std::set<std::string> names;
  for (const auto& path : list_checkpoints(root)) {
    names.insert(path.filename().string().substr(11));  // the last three digits
  }
  return names;
}

using Steps = std::set<std::string>;

TEST(Retention, KeepsTheNewestAndTheBest) {
  const RunFolder root;
  for (std::int64_t step = 1; step <= 9; ++step) {
    const fs::path path = save_checkpoint(root.lease(), root.path(), example_state(step));
    if (step == 3) {
      mark_best(root.lease(), root.path(), path);
    }
  }
  retain_checkpoints(root.lease(), root.path(), {20});
  EXPECT_EQ(checkpoints_in(root.path()).size(), 9u);
  retain_checkpoints(root.lease(), root.path(), {4});
  EXPECT_EQ(checkpoints_in(root.path()), (Steps{"003", "006", "007", "008", "009"}));
  retain_checkpoints(root.lease(), root.path(), {1});
  EXPECT_EQ(checkpoints_in(root.path()), (Steps{"003", "009"}));
  EXPECT_TRUE(is_example_state(load_checkpoint(root.path() / "best"), 3));
  // Another checkpoint becomes the best: the former best one is removed.
  mark_best(root.lease(), root.path(), checkpoint_path(root.path(), 9));
  retain_checkpoints(root.lease(), root.path(), {1});
  EXPECT_EQ(checkpoints_in(root.path()), Steps{"009"});
  EXPECT_TRUE(is_example_state(load_checkpoint(root.path() / "best"), 9));
  EXPECT_EQ(names_in(root.path()), (std::set<std::string>{"best", "step-000000009"}));
  EXPECT_EQ(fs::read_symlink(root.path() / "best"), "step-000000009");  // relative, as a run's folder may be moved
}

TEST(Retention, AnEvaluatedStepCountsOnce) {
  const RunFolder root;
  for (std::int64_t step = 1; step <= 3; ++step) {
    for (const bool evaluated : {false, true}) {
      CheckpointContent content = example_state(step);
      content.evaluated = evaluated;
      const fs::path path = save_checkpoint(root.lease(), root.path(), content);
      EXPECT_EQ(path, checkpoint_path(root.path(), step, evaluated));
      const auto newest = find_newest_checkpoint(root.path(), nothing_is_damaged);
      ASSERT_TRUE(newest && newest->step == step && newest->evaluated == evaluated);
    }
  }
  retain_checkpoints(root.lease(), root.path(), {2});
  EXPECT_EQ(names_in(root.path()), (std::set<std::string>{"step-000000002-evaluated", "step-000000003-evaluated"}));
  // A damaged evaluated checkpoint does not replace the other one.
  const fs::path before = save_checkpoint(root.lease(), root.path(), example_state(3));
  fs::resize_file(checkpoint_path(root.path(), 3, true) / "model.safetensors", 10);
  retain_checkpoints(root.lease(), root.path(), {1});
  EXPECT_TRUE(fs::exists(before));
}

TEST(Retention, VerifiedCheckpointsAreNotReadAgain) {
  const RunFolder root;
  for (std::int64_t step = 1; step <= 4; ++step) {
    save_checkpoint(root.lease(), root.path(), example_state(step));
  }
  std::set<fs::path> verified;
  retain_checkpoints(root.lease(), root.path(), {3}, &verified);
  EXPECT_EQ(verified.size(), 3u);
  fs::resize_file(checkpoint_path(root.path(), 3) / "model.safetensors", 10);
  retain_checkpoints(root.lease(), root.path(), {2}, &verified);
  EXPECT_EQ(checkpoints_in(root.path()), (Steps{"003", "004"})) << "3 was taken for whole";
  EXPECT_EQ(verified.size(), 2u);
}

// A run that fell back behind damaged checkpoints saves steps with lower numbers. If damaged ones were counted, the run
// would delete all that it can resume from.
TEST(Retention, DamagedCheckpointsAreNotCounted) {
  for (const int keep : {1, 2, 3}) {
    const RunFolder root;
    for (const std::int64_t step : {10, 20, 30, 40}) {
      save_checkpoint(root.lease(), root.path(), example_state(step));
    }
    fs::resize_file(checkpoint_path(root.path(), 30) / "model.safetensors", 100);
    write_bytes(checkpoint_path(root.path(), 40) / "state.json", example_state(41).state_json);
    save_checkpoint(root.lease(), root.path(), example_state(25));
    retain_checkpoints(root.lease(), root.path(), {keep});
    int damaged = 0;
    const auto found = find_newest_checkpoint(root.path(), [&](const std::string&) { ++damaged; });
    ASSERT_TRUE(found) << keep;
    EXPECT_TRUE(is_example_state(*found, 25)) << keep;
    Steps whole;
    for (const std::string& step : checkpoints_in(root.path())) {
      if (step != "030" && step != "040") {
        whole.insert(step);
      }
    }
    EXPECT_EQ(whole, keep == 1 ? Steps{"025"} : keep == 2 ? (Steps{"020", "025"}) : (Steps{"010", "020", "025"}));
    // Damaged checkpoints with lower steps than the newest are removed.
    for (const std::int64_t step : {50, 60, 70}) {
      save_checkpoint(root.lease(), root.path(), example_state(step));
      retain_checkpoints(root.lease(), root.path(), {keep});
    }
    EXPECT_EQ(checkpoints_in(root.path()), keep == 1   ? Steps{"070"}
                                           : keep == 2 ? (Steps{"060", "070"})
                                                       : (Steps{"050", "060", "070"}));
  }
}

// The link was made by a person, or left by an older state.
TEST(Retention, BestLinksOfAllKindsAreFollowed) {
  const RunFolder root;
  for (const std::int64_t step : {1, 2, 3}) {
    save_checkpoint(root.lease(), root.path(), example_state(step));
  }
  fs::create_directory_symlink(checkpoint_path(root.path(), 1), root.path() / "best");  // absolute link
  retain_checkpoints(root.lease(), root.path(), {1});
  EXPECT_EQ(checkpoints_in(root.path()), (Steps{"001", "003"}));
  mark_best(root.lease(), root.path(), checkpoint_path(root.path(), 3));  // replaces it
  EXPECT_TRUE(is_example_state(load_checkpoint(root.path() / "best"), 3));
  fs::remove(root.path() / "best");
  fs::create_directory_symlink("step-000000777", root.path() / "best");  // dangling link
  retain_checkpoints(root.lease(), root.path(), {1});
  EXPECT_EQ(checkpoints_in(root.path()), Steps{"003"});
  EXPECT_NE(error_of([&] { load_checkpoint(root.path() / "best"); }).find("best"), std::string::npos);
}

TEST(MarkBest, FailureIsAnError) {
  const RunFolder root;
  const fs::path path = save_checkpoint(root.lease(), root.path(), example_state(1));
  fs::create_directory(root.path() / "best");  // a folder with this name exists
  write_bytes(root.path() / "best" / "x", "x");
  error_of([&] { mark_best(root.lease(), root.path(), path); });
  EXPECT_TRUE(fs::exists(root.path() / "best" / "x"));
  EXPECT_FALSE(has_leftovers(root.path()));
}

}  // namespace
}  // namespace maskedkd::testing
