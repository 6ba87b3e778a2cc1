// When a run is saved and how failures are handled, with one rank and a real folder: due and skipped checkpoints, the
// best checkpoint, the last one before the end.
#include "maskedkd/train/run_saver.hpp"

#include "maskedkd/base/activity.hpp"
#include "maskedkd/base/error.hpp"
#include "maskedkd/model/class_names.hpp"
#include "maskedkd/model/description.hpp"
#include "small_model_state.hpp"
#include "support/temporary_directory.hpp"

#include <ATen/ops/ones_like.h>
#include <gtest/gtest.h>

#include <chrono>
#include <fstream>
#include <thread>

namespace maskedkd {
namespace {

namespace fs = std::filesystem;

void wait_while_saving(const RunSaver& saver) {
  while (saver.is_saving()) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

class RunSaverTest : public ::testing::Test {
 protected:
  RunSaverTest() : lease_(folder_.path(), this_process("test")), model_(testing::small_model_state(3), at::kCPU) {
    model_.student().initialise(1);
    state_.model = describe_model(testing::small_model_state(3).student);
    options_.checkpoint_steps = 10;
    options_.checkpoint_minutes = 0;
    options_.eval_data_path = "somewhere";
    options_.keep_checkpoints = 3;
  }

  fs::path checkpoints() const { return folder_.path() / "checkpoints"; }

  std::unique_ptr<RunSaver> make() {
    fs::create_directories(checkpoints());
    return std::make_unique<RunSaver>(SaverRanks{0, 1, [](bool mine) { return mine; }, &activity_}, options_, state_,
                                      model_, class_metadata({"a", "b", "c"}),
                                      std::make_unique<BackgroundSaver>(&lease_, lease_.staging_folder(), checkpoints(),
                                                                        RetentionOptions{options_.keep_checkpoints}));
  }

  // Sets the state after `step` steps, in the middle of an epoch or at its evaluated end.
  void go_to(std::int64_t step, bool at_end_of_epoch = false) {
    state_.global_step = step;
    state_.step = at_end_of_epoch ? 0 : 5;
  }

  std::vector<std::string> on_disk() const {
    std::vector<std::string> names;
    for (const fs::path& path : list_checkpoints(checkpoints())) {
      names.push_back(path.filename().string());
    }
    return names;
  }

  // While it exists no checkpoint can be written.
  struct BlockedFolder {
    fs::path folder, aside;
    explicit BlockedFolder(const fs::path& path) : folder(path), aside(path.string() + "-aside") {
      fs::rename(folder, aside);
      std::ofstream(folder) << "a file in the folder's place";
    }
    ~BlockedFolder() {
      fs::remove(folder);
      fs::rename(aside, folder);
    }
  };

  testing::TemporaryDirectory folder_;
  Activity activity_;
  Lease lease_;
  TrainOptions options_;
  RunState state_;
  ModelState model_;
};

using Names = std::vector<std::string>;

TEST_F(RunSaverTest, ACheckpointIsDueByStepsOrByTime) {
  auto saver = make();
  EXPECT_FALSE(saver->is_due(9));
  EXPECT_TRUE(saver->is_due(10));
  EXPECT_FALSE(saver->is_due(11));
  options_.checkpoint_steps = 0;
  EXPECT_FALSE(saver->is_due(10));
  options_.checkpoint_minutes = 1e-9;
  EXPECT_TRUE(saver->is_due(11)) << "that time has passed since the saver was created";
}

TEST_F(RunSaverTest, TheSavedStateIsThatOfItsName) {
  auto saver = make();
  go_to(10);
  saver->start();
  EXPECT_TRUE(saver->finish());
  EXPECT_EQ(on_disk(), Names{"step-000000010"});
  EXPECT_EQ(saver->last_save().name, "step-000000010");
  const LoadedCheckpoint loaded = load_checkpoint(checkpoints() / "step-000000010");
  EXPECT_EQ(parse_run_state(loaded.state_json, "").global_step, 10);
  EXPECT_EQ(class_names_in(loaded.metadata.at("model")), ClassNames({"a", "b", "c"}));
  const auto groups = model_.groups();
  for (const auto& [name, value] : groups.at("model")) {
    EXPECT_TRUE(value.detach().equal(loaded.groups.at("model").at(name))) << name;
  }
}

TEST_F(RunSaverTest, LaterStepsDoNotChangeASave) {
  auto saver = make();
  go_to(10);
  const auto groups = model_.groups();
  const auto& [name, value] = groups.at("model").front();
  const at::Tensor before = value.detach().clone();
  saver->start();
  { model_.apply(at::ones_like(model_.parameters().values()), 1, 0.1); }
  saver->finish();
  const LoadedCheckpoint loaded = load_checkpoint(checkpoints() / "step-000000010");
  EXPECT_TRUE(loaded.groups.at("model").at(name).equal(before));
}

TEST_F(RunSaverTest, TheBestEvaluationIsMarkedAndNoOther) {
  auto saver = make();
  const auto evaluate = [&](std::int64_t step, double accuracy) {
    go_to(step, /*at_end_of_epoch=*/true);
    saver->record_evaluation({accuracy, step / 10, step});
    saver->start();
    EXPECT_TRUE(saver->finish());
    return fs::read_symlink(checkpoints() / "best").string();
  };
  EXPECT_EQ(evaluate(10, 50), "step-000000010-evaluated");
  EXPECT_EQ(evaluate(20, 49), "step-000000010-evaluated");
  EXPECT_EQ(evaluate(30, 50), "step-000000010-evaluated") << "the first of two that are equal";
  EXPECT_EQ(evaluate(40, 51), "step-000000040-evaluated");
  EXPECT_EQ(state_.best.step, 40);
}

TEST_F(RunSaverTest, ABestEvaluationThatCouldNotBeSavedIsNotTheBest) {
  auto saver = make();
  go_to(10, true);
  saver->record_evaluation({50, 0, 10});
  saver->start();
  ASSERT_TRUE(saver->finish());
  {
    const BlockedFolder blocked(checkpoints());
    go_to(20, true);
    saver->record_evaluation({60, 1, 20});
    saver->start();
    EXPECT_EQ(state_.best.step, 20) << "it is in the state that is saved";
    EXPECT_FALSE(saver->finish());
  }
  EXPECT_EQ(state_.best.step, 10);
  EXPECT_EQ(on_disk(), Names{"step-000000010-evaluated"});
}

TEST_F(RunSaverTest, AFailureIsReportedOnceAndTheNextSaveWorks) {
  auto saver = make();
  {
    const BlockedFolder blocked(checkpoints());
    go_to(10);
    saver->start();
    wait_while_saving(*saver);
    saver->poll();
    EXPECT_TRUE(saver->take_failure());
    EXPECT_FALSE(saver->take_failure());
    saver->give_up_save();
  }
  go_to(20);
  saver->start();
  EXPECT_TRUE(saver->finish());
  EXPECT_EQ(on_disk(), Names{"step-000000020"});
}

TEST_F(RunSaverTest, TheRunEndsIfNoSaveHasSucceededForTooLong) {
  options_.max_checkpoint_age_minutes = 1e-6;
  auto saver = make();
  const BlockedFolder blocked(checkpoints());
  go_to(10);
  saver->start();
  wait_while_saving(*saver);
  EXPECT_THROW(saver->poll(), Error);
}

TEST_F(RunSaverTest, TheLastCheckpointIsSavedOnceAndOnlyIfSomethingIsNew) {
  auto saver = make();
  go_to(0);
  EXPECT_TRUE(saver->save_at_end(2));
  EXPECT_EQ(on_disk(), Names{}) << "nothing to save before the first step";
  go_to(7);
  EXPECT_TRUE(saver->save_at_end(2));
  EXPECT_EQ(on_disk(), Names{"step-000000007"});
  const auto written = fs::last_write_time(checkpoints() / "step-000000007" / "manifest.json");
  EXPECT_TRUE(saver->save_at_end(2));
  EXPECT_EQ(fs::last_write_time(checkpoints() / "step-000000007" / "manifest.json"), written);
}

TEST_F(RunSaverTest, NothingIsSavedRightAfterARestore) {
  go_to(30);
  auto saver = make();
  saver->record_restored(checkpoints() / "step-000000030");
  EXPECT_EQ(saver->last_save().name, "step-000000030");
  EXPECT_TRUE(saver->save_at_end(2));
  EXPECT_EQ(on_disk(), Names{});
}

TEST_F(RunSaverTest, TheLastSaveIsRetriedAndThenGivenUp) {
  auto saver = make();
  go_to(7);
  {
    const BlockedFolder blocked(checkpoints());
    EXPECT_FALSE(saver->save_at_end(2));
  }
  EXPECT_TRUE(saver->save_at_end(1));
  EXPECT_EQ(on_disk(), Names{"step-000000007"});
}

}  // namespace
}  // namespace maskedkd
