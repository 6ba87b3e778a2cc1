// Flat parameters, AdamW's groups, the average, the loss scale.
#include "maskedkd/base/error.hpp"
#include "maskedkd/model/registry.hpp"
#include "maskedkd/train/adamw.hpp"
#include "maskedkd/train/loss_scaler.hpp"
#include "support/initialised_vit.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/randn.h>
#include <gtest/gtest.h>

#include <cmath>

namespace maskedkd {
namespace {

VitOptions small() {
  VitOptions options;
  options.input_size = 8;
  options.patch_size = 4;
  options.width = 8;
  options.depth = 2;
  options.num_heads = 2;
  options.num_classes = 5;
  options.distilled = true;
  options.layer_scale = true;
  return options;
}

TEST(FlatParameters, KeepsValuesAndTheModelsOwnTensors) {
  Vit model = testing::initialised_vit(small(), 3);
  Vit same = testing::initialised_vit(small(), 3);
  const FlatParameters parameters(model);
  EXPECT_EQ(parameters.size(), model.num_parameters());
  for (std::size_t i = 0; i < model.parameters().size(); ++i) {
    EXPECT_TRUE(model.parameters()[i].second.equal(same.parameters()[i].second)) << model.parameters()[i].first;
  }
  {
    const at::NoGradGuard no_grad;
    parameters.values().fill_(2);
  }
  for (const auto& [name, value] : model.parameters()) {
    EXPECT_TRUE(value.eq(2).all().item<bool>()) << name;
  }
}

// 50 tensors of deit_tiny decay, 102 do not, as in the groups of the official code.
TEST(FlatParameters, DecaysWhatDeiTDecays) {
  const Vit model(find_model("deit_tiny_patch16_224"));
  int decayed = 0, others = 0;
  for (const auto& [name, value] : model.parameters()) {
    (has_weight_decay(name, value) ? decayed : others)++;
  }
  EXPECT_EQ(decayed, 50);
  EXPECT_EQ(others, 102);
}

TEST(FlatParameters, RefusesTensorsOfAnotherModel) {
  Vit model = testing::initialised_vit(small(), 0);
  const FlatParameters parameters(model);
  std::map<std::string, at::Tensor> tensors;
  for (const auto& [name, value] : model.parameters()) {
    tensors[name] = value;
  }
  EXPECT_NO_THROW(parameters.copy_named(tensors, "", parameters.values()));
  tensors["head.bias"] = at::randn({6});
  EXPECT_THROW(parameters.copy_named(tensors, "", parameters.values()), Error);
  tensors.erase("head.bias");
  EXPECT_THROW(parameters.copy_named(tensors, "", parameters.values()), Error);
}

TEST(AdamW, ASavedStateContinuesWithTheSameBits) {
  Vit first = testing::initialised_vit(small(), 1);
  Vit second = testing::initialised_vit(small(), 1);
  const FlatParameters first_parameters(first), second_parameters(second);
  AdamW first_optimizer(first_parameters, {}), second_optimizer(second_parameters, {});
  for (int step = 0; step < 3; ++step) {
    first_optimizer.step(at::randn({first_parameters.size()}), 1e-2);
  }
  {
    const at::NoGradGuard no_grad;
    second_parameters.values().copy_(first_parameters.values());
  }
  std::map<std::string, at::Tensor> state;
  for (const auto& [name, value] : first_optimizer.state()) {
    state[name] = value.clone();
  }
  second_optimizer.load_state(state);
  const at::Tensor gradient = at::randn({first_parameters.size()});
  first_optimizer.step(gradient, 1e-2);
  second_optimizer.step(gradient, 1e-2);
  EXPECT_TRUE(first_parameters.values().equal(second_parameters.values()));
  state.erase("num_steps");
  EXPECT_THROW(second_optimizer.load_state(state), Error);
}

TEST(WeightAverage, IsTheGeometricSum) {
  Vit model = testing::initialised_vit(small(), 1);
  const FlatParameters parameters(model);
  const at::NoGradGuard no_grad;
  parameters.values().fill_(1);
  WeightAverage average(parameters, 0.9);
  parameters.values().fill_(3);
  for (int step = 0; step < 10; ++step) {
    average.update();
  }
  // decay^n 1 + (1 - decay^n) 3
  EXPECT_NEAR(average.values().mean().item<double>(), 3 - 2 * std::pow(0.9, 10), 1e-5);
}

// As torch.amp.GradScaler: 65536, doubled after 2000 finite steps in a row, halved by each overflow.
TEST(LossScaler, GrowsAfterFiniteStepsAndShrinksAfterAnOverflow) {
  LossScaler scaler(true);
  EXPECT_EQ(scaler.scale(), 65536);
  for (int step = 0; step < 1999; ++step) {
    scaler.update(true);
  }
  EXPECT_EQ(scaler.scale(), 65536);
  scaler.update(true);
  EXPECT_EQ(scaler.scale(), 131072);
  scaler.update(true);
  scaler.update(false);
  EXPECT_EQ(scaler.scale(), 65536);
  EXPECT_EQ(scaler.good_steps(), 0);
  LossScaler off(false);
  off.update(false);
  EXPECT_EQ(off.scale(), 1);
}

}  // namespace
}  // namespace maskedkd
