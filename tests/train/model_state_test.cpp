// Weights, optimizer, average and loss scale as one state: the step of a summed gradient, a step that is skipped
// because of an overflow, saving and restoring.
#include "maskedkd/train/model_state.hpp"

#include "maskedkd/base/error.hpp"
#include "small_model_state.hpp"
#include "support/error_of.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/randn_like.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace maskedkd {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

class ModelStateTest : public ::testing::Test {
 protected:
  std::unique_ptr<ModelState> make(const ModelStateOptions& options) {
    auto state = std::make_unique<ModelState>(options, at::kCPU);
    state->student().initialise(7);
    state->start_average();
    return state;
  }
  static ModelState::Update update(ModelState& state, const at::Tensor& gradient_sum, int count, double rate) {
    const at::Tensor result = state.apply(gradient_sum, count, rate);
    return state.update_of(result[0].item<double>(), result[1].item<double>());
  }
  // Copies everything that a checkpoint contains.
  static std::map<std::string, std::map<std::string, at::Tensor>> copy_of(const ModelState& state) {
    std::map<std::string, std::map<std::string, at::Tensor>> copies;
    for (const auto& [group, tensors] : state.groups()) {
      for (const auto& [name, tensor] : tensors) {
        copies[group][name] = tensor.detach().clone();
      }
    }
    return copies;
  }
  static bool same(const std::map<std::string, std::map<std::string, at::Tensor>>& one, const ModelState& state) {
    const auto other = copy_of(state);
    bool equal = one.size() == other.size();
    for (const auto& [group, tensors] : one) {
      for (const auto& [name, tensor] : tensors) {
        equal = equal && tensor.equal(other.at(group).at(name));
      }
    }
    return equal;
  }
};

TEST_F(ModelStateTest, TheSumOfScaledGradientsIsUnscaledAndAveraged) {
  ModelStateOptions options = testing::small_model_state();
  const auto plain = make(options);
  options.scales_loss = true;
  const auto scaled = make(options);
  const at::Tensor gradient = at::randn_like(plain->parameters().values());
  at::Tensor one = gradient.clone(), sum = gradient * (4 * scaled->loss_scale());
  EXPECT_EQ(update(*plain, one, 1, 1e-3), ModelState::Update::applied);
  EXPECT_EQ(update(*scaled, sum, 4, 1e-3), ModelState::Update::applied);
  EXPECT_TRUE(same(copy_of(*plain), *scaled)) << "powers of two change no bit";
}

// As torch.amp.GradScaler does, an overflow skips the step and halves the scale; moments, their count and the average
// are unchanged.
TEST_F(ModelStateTest, AnOverflowSkipsTheStepAndHalvesTheScale) {
  ModelStateOptions options = testing::small_model_state();
  options.scales_loss = true;
  options.ema_decay = 0.9;
  const auto state = make(options);
  at::Tensor good = at::randn_like(state->parameters().values());
  EXPECT_EQ(update(*state, good, 1, 1e-3), ModelState::Update::applied);
  const auto before = copy_of(*state);
  const double scale = state->loss_scale();
  for (const double value : {kInfinity, -kInfinity, std::nan("")}) {
    at::Tensor bad = at::randn_like(state->parameters().values());
    bad[17] = value;
    const double now = state->loss_scale();
    EXPECT_EQ(update(*state, bad, 1, 1e-3), ModelState::Update::skipped);
    EXPECT_EQ(state->loss_scale(), now / 2);
    EXPECT_EQ(state->good_steps(), 0);
    EXPECT_TRUE(same(before, *state));
  }
  EXPECT_EQ(state->loss_scale(), scale / 8);
  at::Tensor next = at::randn_like(state->parameters().values());
  EXPECT_EQ(update(*state, next, 1, 1e-3), ModelState::Update::applied);
  EXPECT_EQ(state->good_steps(), 1);
  EXPECT_FALSE(same(before, *state));
}

TEST_F(ModelStateTest, AnOverflowThatNoScaleAvoidsIsRefused) {
  ModelStateOptions options = testing::small_model_state();
  const auto plain = make(options);
  const auto before = copy_of(*plain);
  at::Tensor bad = at::full_like(plain->parameters().values(), kInfinity);
  EXPECT_EQ(update(*plain, bad, 1, 1e-3), ModelState::Update::refused) << "fp32 and bf16 have no scale";
  EXPECT_TRUE(same(before, *plain));
  options.scales_loss = true;
  const auto scaled = make(options);
  int skipped = 0;
  for (;; ++skipped) {
    at::Tensor gradient = at::full_like(scaled->parameters().values(), kInfinity);
    const ModelState::Update outcome = update(*scaled, gradient, 1, 1e-3);
    if (outcome == ModelState::Update::refused) {
      break;
    }
    ASSERT_EQ(outcome, ModelState::Update::skipped);
    ASSERT_LT(skipped, 100);
  }
  EXPECT_EQ(skipped, 26) << "from 65536 to 1/1024";
}

TEST_F(ModelStateTest, IsRestoredBitForBitAndContinuesAlike) {
  ModelStateOptions options = testing::small_model_state();
  options.ema_decay = 0.99;
  options.clip_gradient_norm = 0.5;
  options.scales_loss = true;
  const auto first = make(options);
  const auto step = [](ModelState& state, double value) {
    at::Tensor gradient = at::full_like(state.parameters().values(), value * state.loss_scale());
    ASSERT_EQ(update(state, gradient, 2, 1e-2), ModelState::Update::applied);
  };
  step(*first, 1);
  LoadedCheckpoint checkpoint;
  checkpoint.groups = copy_of(*first);
  ModelState second(options, at::kCPU);
  second.restore(checkpoint);
  second.restore_loss_scale(1024, 55);
  EXPECT_TRUE(same(copy_of(*first), second));
  EXPECT_EQ(second.loss_scale(), 1024);
  EXPECT_EQ(second.good_steps(), 55);
  step(*first, -2);
  step(second, -2);
  EXPECT_TRUE(same(copy_of(*first), second));
  std::uint64_t bytes = 0;
  for (const auto& [group, tensors] : checkpoint.groups) {
    for (const auto& [name, tensor] : tensors) {
      bytes += tensor.nbytes();
    }
  }
  EXPECT_EQ(first->size_bytes(), bytes);
}

TEST_F(ModelStateTest, WhatIsReplicatedIsAllOfACheckpoint) {
  ModelStateOptions options = testing::small_model_state();
  options.ema_decay = 0.99;
  const auto first = make(options);
  at::Tensor gradient = at::full_like(first->parameters().values(), 0.5);
  ASSERT_EQ(update(*first, gradient, 1, 1e-2), ModelState::Update::applied);
  ModelState second(options, at::kCPU);
  const std::vector<at::Tensor> from = first->replicated(), to = second.replicated();
  ASSERT_EQ(from.size(), to.size());
  for (std::size_t i = 0; i < from.size(); ++i) {
    const at::NoGradGuard no_grad;
    to[i].copy_(from[i]);
  }
  EXPECT_TRUE(same(copy_of(*first), second));
}

TEST_F(ModelStateTest, ACheckpointThatLacksAGroupIsRefused) {
  ModelStateOptions options = testing::small_model_state();
  options.ema_decay = 0.99;
  const auto state = make(options);
  for (const char* group : {"model", "optimizer", "ema"}) {
    LoadedCheckpoint checkpoint;
    checkpoint.groups = copy_of(*state);
    checkpoint.groups.erase(group);
    const std::string message = testing::error_of([&] { state->restore(checkpoint); });
    EXPECT_NE(message.find(std::string("has no ") + group + ".safetensors"), std::string::npos) << message;
  }
}

TEST_F(ModelStateTest, TheStudentCanUseTheAverageForAnEvaluation) {
  ModelStateOptions options = testing::small_model_state();
  options.ema_decay = 0.5;
  const auto state = make(options);
  at::Tensor gradient = at::randn_like(state->parameters().values());
  update(*state, gradient, 1, 1e-1);
  const auto before = copy_of(*state);
  state->with_average([&] {
    for (const auto& [name, value] : state->student().parameters()) {
      EXPECT_TRUE(value.detach().equal(before.at("ema").at(name))) << name;
    }
  });
  EXPECT_TRUE(same(before, *state));
}

}  // namespace
}  // namespace maskedkd
