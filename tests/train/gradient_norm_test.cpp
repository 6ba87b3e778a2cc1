// Compares the norm of gradients of real sizes with PyTorch's in float64; steps_test compares clipping.
#include "maskedkd/train/gradient_norm.hpp"

#include "maskedkd/model/registry.hpp"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/randn.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace maskedkd {
namespace {

double norm_of(const at::Tensor& values) { return euclidean_norm(values).item<double>(); }

// Values of many magnitudes, like gradients: log-normal, of both signs.
at::Tensor heavy_tailed(std::int64_t count) { return at::randn({count}).mul_(at::randn({count}).mul_(2).exp_()); }

double norm_in_float64(const at::Tensor& values) { return values.to(at::kDouble).norm().item<double>(); }

TEST(GradientNorm, EqualsFloat64AtTheSizesOfDeiT) {
  for (const char* name : {"deit_tiny_patch16_224", "deit_small_patch16_224", "deit_base_patch16_224"}) {
    const at::Tensor values = heavy_tailed(count_parameters(find_model(name)));
    EXPECT_NEAR(norm_of(values) / norm_in_float64(values), 1, 1e-9) << name;
  }
}

TEST(GradientNorm, EqualsFloat64AtSizesAroundThoseOfItsParts) {
  for (const std::int64_t count : {1, 2, 15, 16, 17, 65535, 65536, 65537, 131072, 196609}) {
    const at::Tensor values = heavy_tailed(count);
    EXPECT_NEAR(norm_of(values) / norm_in_float64(values), 1, 1e-12) << count;
  }
  EXPECT_EQ(norm_of(at::empty({0})), 0);
}

// The norm is exactly sqrt(n) x; the squares of these values are out of float32's range.
TEST(GradientNorm, HasTheRangeOfFloat64) {
  for (const double value : {1e30, 1e-30}) {
    EXPECT_NEAR(norm_of(at::full({1'000'000}, value)) / (1000 * static_cast<double>(static_cast<float>(value))), 1,
                1e-12);
  }
}

TEST(GradientNorm, IsNotFiniteIfAValueIsNot) {
  at::Tensor values = heavy_tailed(200'000);
  EXPECT_TRUE(std::isfinite(norm_of(values)));
  for (const std::int64_t place : {0, 65535, 131072, 199'999}) {
    const at::Tensor with_infinity = values.clone(), with_nan = values.clone();
    with_infinity[place].fill_(-std::numeric_limits<double>::infinity());
    with_nan[place].fill_(std::numeric_limits<double>::quiet_NaN());
    EXPECT_FALSE(std::isfinite(norm_of(with_infinity))) << place;
    EXPECT_FALSE(std::isfinite(norm_of(with_nan))) << place;
  }
}

TEST(GradientNorm, HasTheSameBitsWithAnyNumberOfThreads) {
  const at::Tensor values = heavy_tailed(5'717'416);
  const int before = at::get_num_threads();
  const double expected = norm_of(values);
  for (const int threads : {1, 2, 3, 7}) {
    at::set_num_threads(threads);
    EXPECT_EQ(norm_of(values), expected) << threads;
  }
  at::set_num_threads(before);
}

TEST(GradientNorm, ClippingShortensToTheLargestNormAndLeavesShorterOnes) {
  const at::Tensor values = heavy_tailed(100'000);
  const at::Tensor norm = euclidean_norm(values);
  at::Tensor longer = values.clone(), shorter = values.clone();
  clip_to_norm(longer, norm, norm.item<double>() / 3);
  EXPECT_NEAR(norm_of(longer) / (norm.item<double>() / 3), 1, 1e-6);
  clip_to_norm(shorter, norm, norm.item<double>() * 3);
  EXPECT_TRUE(shorter.equal(values));
}

}  // namespace
}  // namespace maskedkd
