// Against the same composed of LibTorch's operators in float64, with its gradients by autograd: in fp32 to 1e-5, in
// bf16 with an error of at most 1.2 times that of LibTorch's operators in bf16.
#include "maskedkd/kernels/add_norm.hpp"

#include "add_norm_cases.hpp"

#include <ATen/Functions.h>
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

namespace maskedkd {
namespace {

using testing::add_norm_cases;
using testing::computed;
using testing::kEpsilon;
using testing::random_gradients;
using testing::random_input;
using Case = testing::AddNormCase;
using Results = testing::AddNormResults;

Results composed(const AddNormInput& given, const AddNormOutputGradients& gradients, at::ScalarType floats,
                 at::ScalarType dtype) {
  const auto leaf = [](const at::Tensor& tensor, at::ScalarType type) {
    return tensor.defined() ? tensor.to(type).clone().requires_grad_(true) : tensor;
  };
  const at::Tensor tokens = leaf(given.tokens, floats), branch = leaf(given.branch, dtype),
                   scale = leaf(given.scale, floats), weight = leaf(given.weight, floats),
                   bias = leaf(given.bias, floats);
  Results results;
  results.sum = tokens;
  if (branch.defined()) {
    at::Tensor values = scale.defined() ? branch * scale : branch;
    values = given.factors.defined() ? values * given.factors.to(floats).view({-1, 1, 1}) : values;
    results.sum = tokens + values;
  }
  at::Tensor loss = at::zeros({}, floats);
  if (gradients.sum.defined()) {
    loss = loss + (results.sum * gradients.sum.to(floats)).sum();
  }
  if (weight.defined()) {
    results.normed = at::layer_norm(results.sum, {tokens.size(2)}, weight, bias, kEpsilon).to(dtype);
    if (gradients.normed.defined()) {
      loss = loss + (results.normed * gradients.normed.to(dtype)).sum().to(floats);
    }
  }
  loss.backward();
  const auto gradient = [](const at::Tensor& tensor) { return tensor.defined() ? tensor.grad() : tensor; };
  results.sum = results.sum.detach();
  results.normed = results.normed.defined() ? results.normed.detach() : results.normed;
  results.tokens = gradient(tokens);
  results.branch = gradient(branch);
  results.scale = gradient(scale);
  results.weight = gradient(weight);
  results.bias = gradient(bias);
  return results;
}

double error_of(const at::Tensor& found, const at::Tensor& exact) {
  return (found.to(at::kDouble) - exact).norm().item<double>();
}

TEST(AddNorm, EqualsTheComposition) {
  at::manual_seed(3);
  for (const Case& test : add_norm_cases()) {
    SCOPED_TRACE(test.name());
    const AddNormInput input = random_input(test, at::kFloat);
    const AddNormOutputGradients gradients = random_gradients(test, at::kFloat);
    const auto exact = composed(input, gradients, at::kDouble, at::kDouble).named();
    const auto found = computed(input, gradients, at::kFloat).named();
    for (std::size_t i = 0; i < exact.size(); ++i) {
      const auto& [name, expected] = exact[i];
      ASSERT_EQ(found[i].second.defined(), expected.defined()) << name;
      if (expected.defined()) {
        EXPECT_LE(error_of(found[i].second, expected), 1e-5 * std::max(1.0, expected.norm().item<double>())) << name;
      }
    }
  }
}

TEST(AddNorm, InBfloat16IsNoWorseThanTheComposition) {
  at::manual_seed(4);
  constexpr int kDraws = 3;  // together, as the error of a few values is chance
  for (const Case& test : add_norm_cases()) {
    SCOPED_TRACE(test.name());
    std::vector<double> own(7), composition(7);
    for (int draw = 0; draw < kDraws; ++draw) {
      const AddNormInput input = random_input(test, at::kBFloat16);
      const AddNormOutputGradients gradients = random_gradients(test, at::kBFloat16);
      const auto exact = composed(input, gradients, at::kDouble, at::kDouble).named();
      const auto other = composed(input, gradients, at::kFloat, at::kBFloat16).named();
      const auto found = computed(input, gradients, at::kBFloat16).named();
      for (std::size_t i = 0; i < exact.size(); ++i) {
        ASSERT_EQ(found[i].second.defined(), exact[i].second.defined()) << exact[i].first;
        if (found[i].second.defined()) {
          EXPECT_EQ(found[i].second.scalar_type(), other[i].second.scalar_type()) << exact[i].first;
          own[i] += error_of(found[i].second, exact[i].second);
          composition[i] += error_of(other[i].second, exact[i].second);
        }
      }
    }
    for (std::size_t i = 0; i < own.size(); ++i) {
      EXPECT_LE(own[i], 1.2 * composition[i] + 1e-5) << Results().named()[i].first;
    }
  }
}

TEST(AddNorm, HasTheSameBitsOnAnyNumberOfThreads) {
  at::manual_seed(5);
  const int before = at::get_num_threads();
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    const Case test = {{5, 197, 192}, true, true, true, true};
    const AddNormInput input = random_input(test, dtype);
    const AddNormOutputGradients gradients = random_gradients(test, dtype);
    at::set_num_threads(1);
    const auto expected = computed(input, gradients, dtype).named();
    for (const int threads : {2, 3, 4}) {
      at::set_num_threads(threads);
      const auto found = computed(input, gradients, dtype).named();
      for (std::size_t i = 0; i < expected.size(); ++i) {
        EXPECT_TRUE(at::equal(found[i].second, expected[i].second)) << expected[i].first << " on " << threads;
      }
    }
  }
  at::set_num_threads(before);
}

TEST(AddNorm, RoundsToBfloat16AsPyTorchDoes) {
  const float nan = std::numeric_limits<float>::quiet_NaN(), infinity = std::numeric_limits<float>::infinity();
  AddNormInput input;
  input.tokens = at::zeros({1, 1, 8});
  input.branch = at::zeros({1, 1, 8}, at::kBFloat16);
  AddNormOutputGradients gradients;
  gradients.sum =
      at::tensor({1.0F, -3.0F, 1.00390625F, 1.01171875F, nan, infinity, -infinity, 3.4e38F}).view({1, 1, 8});
  const AddNormOutput output = add_norm(input, kEpsilon, at::kBFloat16, true);
  const at::Tensor found = add_norm_backward(input, output, gradients, at::kBFloat16, true).branch;
  const at::Tensor expected = gradients.sum.to(at::kBFloat16), number = expected.isnan().logical_not();
  EXPECT_TRUE(found.isnan().logical_not().equal(number));
  EXPECT_TRUE(at::equal(found.masked_select(number), expected.masked_select(number)));
}

TEST(AddNorm, RefusesTensorsThatDoNotFit) {
  AddNormInput input = random_input({{2, 3, 8}, true, true, true, true}, at::kFloat);
  EXPECT_NO_THROW(add_norm(input, kEpsilon, at::kFloat, false));
  EXPECT_ANY_THROW(add_norm(input, kEpsilon, at::kBFloat16, false)) << "the branch is of another dtype";
  input.factors = at::ones({3});
  EXPECT_ANY_THROW(add_norm(input, kEpsilon, at::kFloat, false));
  input.factors = at::Tensor();
  input.tokens = input.tokens.transpose(0, 1);
  EXPECT_ANY_THROW(add_norm(input, kEpsilon, at::kFloat, false));
}

}  // namespace
}  // namespace maskedkd
