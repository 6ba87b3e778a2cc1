#include "maskedkd/train/run_state.hpp"

#include "maskedkd/base/error.hpp"
#include "maskedkd/model/description.hpp"

#include <gtest/gtest.h>

#include <functional>

namespace maskedkd {
namespace {

std::string model_of_width(int width) {
  VitOptions model;
  model.width = width;
  return describe_model(model);
}

RunState example() {
  RunState state;
  state.epoch = 17;
  state.step = 3;
  state.global_step = 21270;
  state.epoch_loss_sum = 0.1 + 0.2;  // no short decimal
  state.best.accuracy = 100.0 / 3;
  state.best.epoch = 15;
  state.best.step = 20016;
  state.loss_scale = 131072;
  state.good_steps = 1999;
  state.history = {R"({"train_lr":1e-06,"epoch":0})", R"({"train_lr":0.1,"epoch":1})"};
  state.model = model_of_width(192);
  state.data_set_id = "abc";
  state.teacher_sha256 = "def";
  state.options = {{"seed", "0"}, {"lr", "5e-4"}, {"data-path", "a"}};
  return state;
}

TEST(RunState, ComesBackBitForBit) {
  const RunState before = example();
  const RunState after = parse_run_state(to_json(before), "state.json");
  EXPECT_EQ(after.epoch, before.epoch);
  EXPECT_EQ(after.step, before.step);
  EXPECT_EQ(after.global_step, before.global_step);
  EXPECT_EQ(after.epoch_loss_sum, before.epoch_loss_sum);
  EXPECT_EQ(after.best.accuracy, before.best.accuracy);
  EXPECT_EQ(after.best.epoch, before.best.epoch);
  EXPECT_EQ(after.best.step, before.best.step);
  EXPECT_EQ(after.loss_scale, before.loss_scale);
  EXPECT_EQ(after.good_steps, before.good_steps);
  EXPECT_EQ(after.history, before.history);
  EXPECT_EQ(after.model, before.model);
  EXPECT_EQ(after.data_set_id, before.data_set_id);
  EXPECT_EQ(after.teacher_sha256, before.teacher_sha256);
  EXPECT_EQ(after.teacher_model, before.teacher_model);
  EXPECT_EQ(after.options, before.options);
}

TEST(RunState, RefusesWhatIsNoState) {
  for (const char* text : {"", "{}", "[1]", "{\"epoch\": \"one\"}"}) {
    EXPECT_THROW(parse_run_state(text, "state.json"), Error) << text;
  }
}

TEST(RunState, AResumedRunMayChangeSomeThingsOnly) {
  const auto refusal = [](const std::function<void(RunState&)>& change) {
    RunState now = example();
    change(now);
    try {
      compare_runs(example(), now);
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  EXPECT_NE(refusal([](auto& now) {
              now.model = model_of_width(384);
            }).find("with a model of width 192, now it is width 384"),
            std::string::npos);
  EXPECT_NE(refusal([](auto& now) { now.data_set_id = "xyz"; }).find("xyz"), std::string::npos);
  EXPECT_NE(refusal([](auto& now) { now.teacher_sha256 = ""; }).find("none"), std::string::npos);
  EXPECT_NE(refusal([](auto& now) { now.options[0].second = "7"; }).find("--seed"), std::string::npos);

  RunState now = example();
  now.options[1].second = "1e-3";  // told
  now.options[2].second = "b";     // where, not what
  now.model = " " + now.model;     // other text, the same model
  const std::vector<std::string> told = compare_runs(example(), now);
  ASSERT_EQ(told.size(), 1U);
  EXPECT_NE(told[0].find("--lr"), std::string::npos);
}

// One file is two teachers where its positions are interpolated for another grid.
TEST(RunState, AnotherTeacherModelIsRefusedWhereTheOldOneIsKnown) {
  RunState before = example(), now = example();
  now.teacher_model = model_of_width(384);
  EXPECT_NO_THROW(compare_runs(before, now));  // from before it was kept
  before.teacher_model = model_of_width(384);
  EXPECT_NO_THROW(compare_runs(before, now));
  before.teacher_model = model_of_width(192);
  try {
    compare_runs(before, now);
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("with a teacher of width 192, now it is width 384"), std::string::npos)
        << error.what();
  }
}

// A run from before there were criteria and schedules used the paper's.
TEST(RunState, WhatAnOldRunCouldNotChooseIsToldWhereItChanges) {
  RunState now = example();
  now.options.emplace_back("mask-criterion", "random");
  now.options.emplace_back("keep-schedule", "constant");
  EXPECT_EQ(compare_runs(example(), now), std::vector<std::string>{"--mask-criterion changes from student to random"});
}

// Once the flags of --model vit were kept with their defaults beside a published model, and 0 classes for those of the
// data; with no mask, the share that was not in force. The model itself is compared as such.
TEST(RunState, WhatOldRunsKeptBesideWhatWasInForceIsNoChange) {
  RunState before = example();
  before.options = {{"num-classes", "0"}, {"width", "192"}, {"heads", "3"}, {"mask-criterion", "all"}, {"keep", "0.5"}};
  RunState now = before;
  now.options = {{"num-classes", "10"}, {"width", "384"}, {"heads", "6"}, {"mask-criterion", "all"}, {"keep", "1.0"}};
  EXPECT_EQ(compare_runs(parse_run_state(to_json(before), "here"), now), std::vector<std::string>());
}

// Which device augments may change levels by one: told, in both directions.
TEST(RunState, ARunMayGoOnWithAugmentationElsewhere) {
  RunState now = example();
  now.options.emplace_back("augment-on", "gpu");
  EXPECT_EQ(compare_runs(example(), now), std::vector<std::string>{"--augment-on changes from cpu to gpu"});
}

// Sums in another order differ in their last bits; a power of two of ranks keeps the order.
TEST(RunState, WhatChangesTheRoundingIsTold) {
  RunState before = example();
  before.ranks = 2;
  before.threads = 1;
  before.device = "cpu";
  const auto told = [&](int ranks, int threads, const std::string& device) {
    RunState now = before;
    now.ranks = ranks;
    now.threads = threads;
    now.device = device;
    return compare_runs(parse_run_state(to_json(before), "here"), now);
  };
  const std::string rest = ": from here on the result is the same up to rounding, not bit for bit";
  using Lines = std::vector<std::string>;
  EXPECT_EQ(told(2, 1, "cpu"), Lines());
  EXPECT_EQ(told(8, 1, "cpu"), Lines());
  EXPECT_EQ(told(3, 1, "cpu"), Lines{"the ranks change from 2 to 3, which are not both powers of two" + rest});
  EXPECT_EQ(told(2, 4, "cpu"), Lines{"the threads of a rank change from 1 to 4 (--threads 1 keeps them)" + rest});
  EXPECT_EQ(told(2, 4, "cuda"), Lines{"the device changes from cpu to cuda" + rest});
  before.ranks = 6;
  EXPECT_EQ(told(6, 1, "cpu"), Lines());
  EXPECT_EQ(told(2, 1, "cpu").size(), 1u);
  before.options.emplace_back("deterministic", "false");
  EXPECT_EQ(told(2, 4, "cpu"), Lines()) << "no bits were promised";
  EXPECT_EQ(compare_runs(example(), before).size(), 0u) << "of a run from before they were kept";
}

// A run from before there was RandAugment had none, and must not get it in its middle by a new default.
TEST(RunState, AnOldRunHadNoRandAugment) {
  RunState now = example();
  for (const auto& [name, text] : {std::pair("aa", "rand-m9-mstd0.5-inc1"),
                                   {"three-augment", "false"},
                                   {"color-jitter", "0.3"},
                                   {"train-interpolation", "bicubic"},
                                   {"erasing-mode", "pixel"},
                                   {"erasing-count", "1"},
                                   {"cutmix-minmax", "none"}}) {
    now.options.emplace_back(name, text);
  }
  EXPECT_THROW(compare_runs(example(), now), Error);
  now.options[now.options.size() - 7].second = "none";
  EXPECT_EQ(
      compare_runs(example(), now),
      (std::vector<std::string>{"--color-jitter changes from 0 to 0.3",
                                "--erasing-mode changes from pixel (other noise of the same distribution) to pixel"}));
  // Between runs that know it, it is told as any other.
  RunState before = now;
  now.options[now.options.size() - 7].second = "rand-m5";
  EXPECT_EQ(compare_runs(before, now), std::vector<std::string>{"--aa changes from none to rand-m5"});
}

// Checkpoints from when --keep took patches only, and 0 for half of them.
TEST(RunState, AnOldKeepOfZeroIsHalf) {
  RunState old = example();
  old.options = {{"keep", "0"}, {"workers", "0"}};
  const RunState read = parse_run_state(to_json(old), "state.json");
  EXPECT_EQ(read.options, (OptionTexts{{"keep", "0.5"}, {"workers", "0"}}));
}

}  // namespace
}  // namespace maskedkd
