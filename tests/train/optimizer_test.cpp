// Flat parameters, AdamW's groups, the average, the loss scale.
#include "maskedkd/base/error.hpp"
#include "maskedkd/model/registry.hpp"
#include "maskedkd/train/adamw.hpp"
#include "maskedkd/train/loss_scaler.hpp"
#include "support/initialised_vit.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/scalar_tensor.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace maskedkd {
namespace {

const at::Tensor kFinite = at::scalar_tensor(true, at::kBool);

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
    first_optimizer.step(at::randn({first_parameters.size()}), 1e-2, kFinite);
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
  first_optimizer.step(gradient, 1e-2, kFinite);
  second_optimizer.step(gradient, 1e-2, kFinite);
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
    average.update(kFinite);
  }
  // decay^n 1 + (1 - decay^n) 3
  EXPECT_NEAR(average.values().mean().item<double>(), 3 - 2 * std::pow(0.9, 10), 1e-5);
}

// Nothing changes after a gradient that is not finite: not the moments, not their count, not the average.
TEST(AdamW, AGradientThatIsNotFiniteChangesNothing) {
  Vit model = testing::initialised_vit(small(), 1);
  const FlatParameters parameters(model);
  AdamW optimizer(parameters, {});
  WeightAverage average(parameters, 0.9);
  optimizer.step(at::randn({parameters.size()}), 1e-2, kFinite);
  average.update(kFinite);
  std::vector<at::Tensor> before = {parameters.values().clone(), average.values().clone()};
  for (const auto& [name, tensor] : optimizer.state()) {
    before.push_back(tensor.clone());
  }
  at::Tensor gradient = at::randn({parameters.size()});
  gradient[3] = std::numeric_limits<double>::infinity();
  optimizer.step(gradient, 1e-2, at::scalar_tensor(false, at::kBool));
  average.update(at::scalar_tensor(false, at::kBool));
  std::vector<at::Tensor> after = {parameters.values(), average.values()};
  for (const auto& [name, tensor] : optimizer.state()) {
    after.push_back(tensor);
  }
  for (std::size_t i = 0; i < before.size(); ++i) {
    EXPECT_TRUE(before[i].equal(after[i])) << i;
  }
}

// As torch.amp.GradScaler: 65536, doubled after 2000 finite steps in a row, halved by each overflow.
TEST(LossScaler, GrowsAfterFiniteStepsAndShrinksAfterAnOverflow) {
  const at::Tensor overflow = at::scalar_tensor(false, at::kBool);
  LossScaler scaler(true, at::kCPU);
  EXPECT_EQ(scaler.scale().item<double>(), 65536);
  for (int step = 0; step < 1999; ++step) {
    scaler.update(kFinite);
  }
  EXPECT_EQ(scaler.scale().item<double>(), 65536);
  scaler.update(kFinite);
  EXPECT_EQ(scaler.scale().item<double>(), 131072);
  scaler.update(kFinite);
  EXPECT_EQ(scaler.good_steps().item<double>(), 1);
  scaler.update(overflow);
  EXPECT_EQ(scaler.scale().item<double>(), 65536);
  EXPECT_EQ(scaler.good_steps().item<double>(), 0);
  LossScaler off(false, at::kCPU);
  off.update(overflow);
  EXPECT_EQ(off.scale().item<double>(), 1);
}

}  // namespace
}  // namespace maskedkd
