// Compares the initialisation with the distributions of DeiT's code: moments, ranges, and independence of tensors.
#include "maskedkd/model/vit.hpp"
#include "support/contains.hpp"
#include "support/initialised_vit.hpp"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/randn.h>
#include <gtest/gtest.h>

#include <cmath>
#include <set>
#include <string>

namespace maskedkd::testing {
namespace {

VitOptions sizeable(bool deit3) {
  VitOptions options;
  options.depth = 3;
  options.num_classes = 300;
  options.distilled = !deit3;
  options.layer_scale = deit3;
  options.position_on_class_token = !deit3;
  options.layer_scale_init = 0.037;
  return options;
}

// Expects mean and higher moments within five standard errors of those of n draws of the distribution.
void expect_moments(const std::string& name, const at::Tensor& values, double std, double kurtosis,
                    double kurtosis_error) {
  const at::Tensor x = values.to(at::kDouble).flatten() / std;
  const double n = static_cast<double>(x.numel());
  EXPECT_LE(std::abs(x.mean().item<double>()), 5 / std::sqrt(n)) << name;
  EXPECT_LE(std::abs(x.square().mean().item<double>() - 1), 5 * std::sqrt((kurtosis - 1) / n)) << name;
  EXPECT_LE(std::abs(x.pow(4).mean().item<double>() - kurtosis), 5 * kurtosis_error / std::sqrt(n)) << name;
  EXPECT_LE(std::abs((x.narrow(0, 1, x.numel() - 1) * x.narrow(0, 0, x.numel() - 1)).mean().item<double>()),
            5 / std::sqrt(n - 1))
      << name << ": neighbours are correlated";
}

TEST(Initialisation, FollowsDeitsDistributions) {
  for (const bool deit3 : {false, true}) {
    const VitOptions options = sizeable(deit3);
    const Vit model = initialised_vit(options, 20261124);
    std::set<double> first_values;
    for (const auto& [name, parameter] : model.parameters()) {
      const at::Tensor magnitude = parameter.abs();
      const double largest = magnitude.max().item<double>();
      if (contains(name, "patch_embed")) {
        const double bound = 1 / std::sqrt(3.0 * 16 * 16);
        EXPECT_LE(largest, bound * (1 + 1e-6)) << name;
        EXPECT_GT(largest, bound * 0.95) << name;
        expect_moments(name, parameter, bound / std::sqrt(3.0), 9.0 / 5, std::sqrt(9.0 - 81.0 / 25));  // uniform
      } else if (contains(name, "gamma")) {
        EXPECT_TRUE((parameter == static_cast<float>(0.037)).all().item<bool>()) << name;
        continue;
      } else if (contains(name, "norm")) {
        EXPECT_TRUE((parameter == (contains(name, "weight") ? 1.0 : 0.0)).all().item<bool>()) << name;
        continue;
      } else if (contains(name, "bias")) {
        EXPECT_EQ(largest, 0) << name;
        continue;
      } else {
        expect_moments(name, parameter, 0.02, 3, std::sqrt(96.0));  // normal
        // The truncation at +-2 is a hundred standard deviations away, so the tails are those of a normal distribution.
        EXPECT_LT(largest, 0.02 * 6.5) << name;
        if (parameter.numel() > 50'000) {
          EXPECT_GT(largest, 0.02 * 3.7) << name;
        }
      }
      first_values.insert(parameter.flatten()[0].item<double>());
    }
    // No two random tensors start with the same number.
    const std::size_t tensors = 2 + 2 + (deit3 ? 0 : 2) + 4 * 3 + 1;
    EXPECT_EQ(first_values.size(), tensors);
  }
}

TEST(Initialisation, DependsOnTheSeedOnly) {
  const VitOptions options = sizeable(false);
  const Vit first = initialised_vit(options, 7);
  at::manual_seed(99);
  at::randn({3});
  at::set_num_threads(3);
  const Vit again = initialised_vit(options, 7);
  const Vit other = initialised_vit(options, 8);
  const Vit far = initialised_vit(options, 7 + (std::uint64_t{1} << 32));
  for (std::size_t i = 0; i < first.parameters().size(); ++i) {
    const auto& [name, parameter] = first.parameters()[i];
    EXPECT_TRUE(parameter.equal(again.parameters()[i].second)) << name;
    const bool random =
        contains(name, "embed") || contains(name, "token") || (contains(name, "weight") && !contains(name, "norm"));
    EXPECT_EQ(parameter.equal(other.parameters()[i].second), !random) << name;
    EXPECT_EQ(parameter.equal(far.parameters()[i].second), !random) << name;
    if (random) {  // numbers of another seed are independent
      const at::Tensor a = parameter.flatten(), b = other.parameters()[i].second.flatten();
      const double correlation = ((a * b).mean() / (a.square().mean() * b.square().mean()).sqrt()).item<double>();
      EXPECT_LT(std::abs(correlation), 5 / std::sqrt(static_cast<double>(a.numel()))) << name;
    }
  }
}

}  // namespace
}  // namespace maskedkd::testing
