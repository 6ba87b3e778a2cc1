// Compares the loss and its gradients with PyTorch's losses in float64 (tests/distill/reference.py).
#include "maskedkd/distill/loss.hpp"

#include "maskedkd/base/error.hpp"
#include "maskedkd/io/safetensors.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/ops/flip.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <cmath>
#include <cstdio>
#include <fstream>
#include <limits>

namespace maskedkd::testing {
namespace {

const std::filesystem::path kReference = MASKEDKD_REFERENCE_DIR;

double relative_error(const at::Tensor& actual, const at::Tensor& expected) {
  const at::Tensor wide = expected.to(at::kDouble);
  return ((actual.detach().to(at::kDouble) - wide).abs().max() / wide.abs().max()).item<double>();
}

TEST(DistillationLoss, ValueAndGradientsArePyTorchs) {
  std::ifstream stream(kReference / "distill.json");
  const auto losses = nlohmann::json::parse(stream).at("losses");
  const auto tensors = read_safetensors(kReference / "distill.safetensors").tensors;
  double worst_value = 0, worst_gradient = 0;
  for (std::size_t i = 0; i < losses.size(); ++i) {
    const auto given = [&](const std::string& name) { return tensors.at(std::to_string(i) + "." + name); };
    DistillationOptions options;
    options.type = parse_distillation_type(losses[i].at("type"));
    options.alpha = losses[i].at("alpha");
    options.tau = losses[i].at("tau");
    SCOPED_TRACE(losses[i].dump());
    const at::Tensor logits = given("logits").clone().requires_grad_();
    const at::Tensor teacher = given("teacher").clone().requires_grad_();
    at::Tensor second;
    if (losses[i].at("two_heads")) {
      second = given("second").clone().requires_grad_();
    }
    const at::Tensor loss = distillation_loss(logits, second, given("targets"), teacher, options);
    EXPECT_EQ(loss.dim(), 0);
    EXPECT_EQ(loss.scalar_type(), at::kFloat);
    const double value_error = relative_error(loss, given("loss"));
    // A high temperature multiplies float32's rounding errors by tau^2, in PyTorch too.
    EXPECT_LE(value_error, std::max(1e-6, 1.5 * losses[i].at("float32_error").get<double>()));
    worst_value = std::max(worst_value, value_error);

    loss.backward();
    EXPECT_FALSE(teacher.grad().defined());
    const auto check_gradient = [&](const at::Tensor& gradient, const at::Tensor& expected) {
      if (expected.abs().max().item<double>() == 0) {
        EXPECT_TRUE(!gradient.defined() || gradient.abs().max().item<double>() == 0);
        return;
      }
      const double error = relative_error(gradient, expected);
      EXPECT_LE(error, 1e-5);
      worst_gradient = std::max(worst_gradient, error);
    };
    check_gradient(logits.grad(), given("gradient"));
    if (second.defined()) {
      const bool taught = tensors.count(std::to_string(i) + ".second_gradient") == 1;
      EXPECT_EQ(second.grad().defined(), taught);
      if (taught) {
        check_gradient(second.grad(), given("second_gradient"));
      }
    }
  }
  EXPECT_GE(losses.size(), 26U);
  std::printf("    %zu losses: value %.2e, gradients %.2e\n", losses.size(), worst_value, worst_gradient);
}

TEST(DistillationLoss, TypeNoneNeedsNoTeacher) {
  DistillationOptions options;
  options.type = DistillationType::none;
  const at::Tensor logits = at::randn({3, 4}), targets = at::randn({3, 4}).softmax(-1);
  EXPECT_TRUE(distillation_loss(logits, {}, targets, {}, options).equal(soft_target_cross_entropy(logits, targets)));
  EXPECT_TRUE(distillation_loss(logits, logits.flip(0), targets, {}, options)
                  .equal(soft_target_cross_entropy((logits + logits.flip(0)) / 2, targets)));
}

// Closed form: equal logits give 0, and two classes give the binary divergence.
TEST(DistillationTerm, EqualsTheClosedForms) {
  DistillationOptions options;
  options.tau = 3;
  const at::Tensor logits = at::randn({5, 9});
  EXPECT_NEAR(distillation_term(logits, logits + 2.5, options).item<double>(), 0, 1e-5);

  options.tau = 2;
  const at::Tensor student = at::zeros({1, 2}), teacher = at::zeros({1, 2});
  teacher[0][0] = 2 * std::log(3.0);  // softmax at temperature 2: 3/4, 1/4
  const double divergence = 0.75 * std::log(0.75 / 0.5) + 0.25 * std::log(0.25 / 0.5);
  EXPECT_NEAR(distillation_term(student, teacher, options).item<double>(), 4 * divergence, 1e-6);
  options.type = DistillationType::hard;
  EXPECT_NEAR(distillation_term(student, teacher, options).item<double>(), std::log(2.0), 1e-6);
}

TEST(DistillationType, NamesAreReadAndWritten) {
  for (const DistillationType type : {DistillationType::none, DistillationType::soft, DistillationType::hard}) {
    EXPECT_EQ(parse_distillation_type(to_string(type)), type);
  }
  EXPECT_EQ(to_string(DistillationType::hard), "hard");
  for (const char* wrong : {"", "Soft", "softt", "hard "}) {
    try {
      parse_distillation_type(wrong);
      FAIL() << wrong;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::usage);
      EXPECT_NE(error.hint().find("none, soft, hard"), std::string::npos);
    }
  }
}

TEST(DistillationOptions, RefusesInvalidAlphaAndTemperature) {
  const auto refused = [](double alpha, double tau) {
    DistillationOptions options;
    options.alpha = alpha;
    options.tau = tau;
    try {
      options.validate();
    } catch (const Error& error) {
      return error.code() == ExitCode::usage;
    }
    return false;
  };
  const double nan = std::numeric_limits<double>::quiet_NaN(), infinity = std::numeric_limits<double>::infinity();
  for (const double alpha : {0.0, 0.5, 1.0}) {
    EXPECT_FALSE(refused(alpha, 1));
  }
  for (const double alpha : {-0.01, 1.01, nan, infinity}) {
    EXPECT_TRUE(refused(alpha, 1)) << alpha;
  }
  for (const double tau : {0.0, -1.0, nan, infinity}) {
    EXPECT_TRUE(refused(0.5, tau)) << tau;
  }
  EXPECT_FALSE(refused(0.5, 0.01));
}

}  // namespace
}  // namespace maskedkd::testing
