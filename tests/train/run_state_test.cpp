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
  state.epoch_loss_sum = 0.1 + 0.2;  // not a short decimal
  state.best.accuracy = 100.0 / 3;
  state.best.epoch = 15;
  state.best.step = 20016;
  state.loss_scale = 131072;
  state.good_steps = 1999;
  state.history = {R"({"train_lr":1e-06,"epoch":0})", R"({"train_lr":0.1,"epoch":1})"};
  state.model = model_of_width(192);
  state.data_set_id = "abc";
  state.teacher_sha256 = "def";
  state.teacher_model = model_of_width(384);
  state.options = {{"seed", "0", OnResume::fixed},
                   {"lr", "5e-4", OnResume::reported},
                   {"data-path", "a", OnResume::free},
                   {"deterministic", "true", OnResume::reported}};
  state.ranks = 2;
  state.threads = 3;
  state.device = "cpu";
  state.gpus = {"NVIDIA A100", "NVIDIA H100"};
  return state;
}

TEST(RunState, IsRestoredBitForBit) {
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
  EXPECT_NE(after.model.find("192"), std::string::npos);
  EXPECT_EQ(after.data_set_id, before.data_set_id);
  EXPECT_EQ(after.teacher_sha256, before.teacher_sha256);
  EXPECT_EQ(after.teacher_model, before.teacher_model);
  EXPECT_EQ(after.ranks, before.ranks);
  EXPECT_EQ(after.threads, before.threads);
  EXPECT_EQ(after.device, before.device);
  EXPECT_EQ(after.gpus, before.gpus);
  ASSERT_EQ(after.options.size(), before.options.size());
  for (std::size_t i = 0; i < before.options.size(); ++i) {
    EXPECT_EQ(after.options[i].name, before.options[i].name);
    EXPECT_EQ(after.options[i].text, before.options[i].text);
  }
}

TEST(RunState, RefusesInvalidTexts) {
  std::vector<std::string> texts = {"", "{}", "[1]", "{\"epoch\": \"one\"}"};
  for (const char* field :
       {"\"epoch\"", "\"teacher_model\"", "\"ranks\"", "\"threads\"", "\"device\"", "\"history\""}) {
    std::string text = to_json(example());
    text.replace(text.find(field) + 1, 1, "?");
    texts.push_back(text);
  }
  for (const std::string& text : texts) {
    EXPECT_THROW(parse_run_state(text, "state.json"), Error) << text;
  }
}

TEST(RunState, AResumedRunMayChangeOnlySomeOptions) {
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
  EXPECT_NE(refusal([](auto& now) { now.options[0].text = "7"; }).find("--seed"), std::string::npos);

  RunState now = example();
  now.options[1].text = "1e-3";
  now.options[2].text = "b";
  now.model = " " + now.model;  // another text for the same model
  EXPECT_EQ(compare_runs(example(), now), std::vector<std::string>{"--lr changes from 5e-4 to 1e-3"});
}

TEST(RunState, AFixedOptionIsRefusedAlsoWithoutAState) {
  OptionTexts now = example().options;
  now[1].text = "1e-3";
  EXPECT_NO_THROW(refuse_fixed_changes(example().options, now));
  now[0].text = "7";
  EXPECT_THROW(refuse_fixed_changes(example().options, now), Error);
}

// A program with one option more or less can resume the run.
TEST(RunState, AnOptionThatOneOfTheTwoLacksIsNotCompared) {
  RunState now = example();
  now.options.push_back({"stride", "2", OnResume::fixed});
  now.options.erase(now.options.begin() + 1);
  EXPECT_EQ(compare_runs(example(), now), std::vector<std::string>());
}

// One file gives two teachers if its positions are interpolated for another grid.
TEST(RunState, TheSameFileAsAnotherTeacherModelIsRefused) {
  RunState now = example();
  now.teacher_model = model_of_width(192);
  try {
    compare_runs(example(), now);
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("with a teacher of width 384, now it is width 192"), std::string::npos)
        << error.what();
  }
}

// Sums in another order differ in their last bits; powers of two of ranks keep the order.
TEST(RunState, ChangesThatAffectRoundingAreReported) {
  RunState before = example();
  before.threads = 1;
  const auto changes = [&](int ranks, int threads, const std::string& device) {
    RunState now = before;
    now.ranks = ranks;
    now.threads = threads;
    now.device = device;
    return compare_runs(parse_run_state(to_json(before), "here"), now);
  };
  const std::string rest = ": from here on the result is the same up to rounding, not bit for bit";
  using Lines = std::vector<std::string>;
  EXPECT_EQ(changes(2, 1, "cpu"), Lines());
  EXPECT_EQ(changes(8, 1, "cpu"), Lines());
  EXPECT_EQ(changes(3, 1, "cpu"),
            Lines{"the number of ranks changes from 2 to 3, which are not both powers of two" + rest});
  EXPECT_EQ(changes(2, 4, "cpu"),
            Lines{"the number of threads of a rank changes from 1 to 4 (--threads 1 keeps it)" + rest});
  EXPECT_EQ(changes(2, 4, "cuda"), Lines{"the device changes from cpu to cuda" + rest});
  before.ranks = 6;
  EXPECT_EQ(changes(6, 1, "cpu"), Lines());
  EXPECT_EQ(changes(2, 1, "cpu").size(), 1U);
  before.options.back().text = "false";
  EXPECT_EQ(changes(2, 4, "cpu"), Lines()) << "--deterministic false promises no bits";
}

TEST(RunState, OtherGpusAreReported) {
  RunState before = example(), now = example();
  before.gpus = now.gpus = {"NVIDIA H100"};
  EXPECT_EQ(change_of_gpus(before, now), "");
  now.ranks = 1;
  EXPECT_EQ(change_of_gpus(before, now), "the GPUs change from 2 x NVIDIA H100 to 1 x NVIDIA H100");
  now.gpus = {"NVIDIA A100", "NVIDIA H100"};
  now.ranks = 2;
  EXPECT_EQ(change_of_gpus(before, now),
            "the GPUs change from 2 x NVIDIA H100 to 2 GPUs (NVIDIA A100, NVIDIA H100): the last bits of the result "
            "may differ");
  now.gpus = {};
  EXPECT_EQ(change_of_gpus(before, now), "") << "the device changes, which compare_runs() reports";
}

}  // namespace
}  // namespace maskedkd
