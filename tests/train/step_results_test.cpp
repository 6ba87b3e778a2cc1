// What the host reads of a step: in the order of the steps, with the step that it belongs to.
#include "maskedkd/train/step_results.hpp"

#include <ATen/ops/scalar_tensor.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <limits>

namespace maskedkd {
namespace {

at::Tensor update(double norm, double loss_scale) {
  return at::tensor(std::vector<double>{norm, loss_scale}, at::kDouble);
}

TEST(StepResults, AreReadInTheOrderOfTheSteps) {
  StepResults results(at::kCPU);
  EXPECT_EQ(results.capacity(), 0U) << "a CPU has finished a step when it is queued";
  results.push({at::scalar_tensor(1.5, at::kFloat), at::scalar_tensor(2.5, at::kFloat)}, update(0.25, 65536), 3, 40);
  results.push({at::scalar_tensor(-1.0, at::kFloat)}, update(std::numeric_limits<double>::infinity(), 32768), 4, 41);
  ASSERT_EQ(results.size(), 2U);
  const StepResult first = results.pop(), second = results.pop();
  EXPECT_EQ(results.size(), 0U);
  EXPECT_EQ(first.losses, (std::vector<double>{1.5, 2.5}));
  EXPECT_EQ(first.gradient_norm, 0.25);
  EXPECT_EQ(first.loss_scale, 65536);
  EXPECT_EQ(first.epoch, 3);
  EXPECT_EQ(first.global_step, 40);
  EXPECT_EQ(second.losses, std::vector<double>{-1});
  EXPECT_EQ(second.gradient_norm, std::numeric_limits<double>::infinity());
  EXPECT_EQ(second.loss_scale, 32768);
  EXPECT_EQ(second.global_step, 41);
}

TEST(StepResults, KeepWhatWasThereWhenTheyWerePushed) {
  StepResults results(at::kCPU);
  at::Tensor loss = at::scalar_tensor(1.0, at::kFloat), norm_and_scale = update(2, 1);
  results.push({loss}, norm_and_scale, 0, 0);
  loss.fill_(7);
  norm_and_scale.fill_(8);
  const StepResult step = results.pop();
  EXPECT_EQ(step.losses, std::vector<double>{1});
  EXPECT_EQ(step.gradient_norm, 2);
}

}  // namespace
}  // namespace maskedkd
