// What the kernel that prepares a batch writes into erased boxes: its distribution, and which random numbers it is made
// of.
#include "maskedkd/augment/erasing.hpp"
#include "maskedkd/kernels/prepare_batch.hpp"

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <vector>

namespace maskedkd::testing {
namespace {

RandomAddress address_of(std::uint32_t position) { return {3, RandomPurpose::erasing_noise, 4, 5, 6, position}; }

// The first `count` values of a square image that is erased as a whole.
std::vector<float> filled(ErasingMode mode, std::size_t count, std::uint32_t position, std::uint32_t number) {
  static const BatchPreparer preparer(at::kCPU);
  const int side = static_cast<int>(std::ceil(std::sqrt(static_cast<double>(count) / 3)));
  const at::Tensor erasures = at::empty({1, 1, kPlannedErasureWords}, at::kInt);
  *reinterpret_cast<PlannedErasure*>(erasures.mutable_data_ptr<std::int32_t>()) =
      plan_erasure({0, 0, side, side}, mode, address_of(position), number);
  const at::Tensor images = at::empty({1, 3, side, side}, at::kFloat);
  preparer.prepare({.pixels = at::zeros({1, side, side, 3}, at::kByte), .erasures = erasures}, 0, images, {});
  const float* values = images.const_data_ptr<float>();
  return std::vector<float>(values, values + count);
}

std::vector<float> noise(std::size_t count, std::uint32_t position = 7) {
  return filled(ErasingMode::pixel, count, position, 0);
}

double normal_below(double x) { return 0.5 * std::erfc(-x / std::numbers::sqrt2); }

TEST(ErasingNoise, NoiseHasTheMomentsAndTheDistributionOfANormal) {
  constexpr std::size_t kCount = 4000000;
  std::vector<float> values = noise(kCount);
  double moments[5] = {};
  for (const float value : values) {
    for (int power = 1; power <= 4; ++power) {
      moments[power] += std::pow(double{value}, power) / kCount;
    }
  }
  const double sigma = 1 / std::sqrt(double{kCount});  // of the mean; variances of powers: 1, 2, 15, 96
  EXPECT_NEAR(moments[1], 0, 4.5 * sigma);
  EXPECT_NEAR(moments[2], 1, 4.5 * sigma * std::sqrt(2));
  EXPECT_NEAR(moments[3], 0, 4.5 * sigma * std::sqrt(15));
  EXPECT_NEAR(moments[4], 3, 4.5 * sigma * std::sqrt(96) + 0.002);  // the 65,536 values of the table have 2.9988
  std::sort(values.begin(), values.end());
  double distance = 0;
  for (std::size_t i = 0; i < kCount; ++i) {
    const double expected = normal_below(values[i]);
    distance = std::max({distance, std::abs(expected - static_cast<double>(i) / kCount),
                         std::abs(expected - static_cast<double>(i + 1) / kCount)});
  }
  std::printf("Kolmogorov-Smirnov distance from N(0, 1) %.2e, of %zu values\n", distance, kCount);
  EXPECT_LT(distance, 2.23 * sigma + 1.0 / 131072);  // exceeded by chance once in 10,000 runs
}

// Checks every value of the table with the distribution function, an independent computation.
TEST(ErasingNoise, NoiseTakesQuantilesOfANormal) {
  std::vector<float> values = noise(2000000);
  std::sort(values.begin(), values.end());
  values.erase(std::unique(values.begin(), values.end()), values.end());
  ASSERT_EQ(values.size(), 65536U);
  for (std::size_t i = 0; i < values.size(); ++i) {
    ASSERT_NEAR(normal_below(values[i]) * 65536, static_cast<double>(i) + 0.5, 0.005) << i;
    ASSERT_EQ(values[i], -values[values.size() - 1 - i]);
  }
}

TEST(ErasingNoise, NeighboursBoxesAndImagesAreIndependent) {
  constexpr std::size_t kCount = 1000000;
  const std::vector<float> values = noise(kCount + 1024), other_image = noise(kCount, 8);
  const std::vector<float> box = filled(ErasingMode::pixel, kCount, 7, 1);
  const auto correlation = [&](const std::vector<float>& other, std::size_t lag) {
    double sum = 0, squares = 0;
    for (std::size_t i = 0; i < kCount; ++i) {
      sum += double{values[i]} * other[i + lag];
      squares += (double{values[i]} * values[i] - 1) * (double{other[i + lag]} * other[i + lag] - 1);
    }
    return std::max(std::abs(sum), std::abs(squares) / 2) / std::sqrt(double{kCount});
  };
  for (const std::size_t lag : {1, 2, 3, 4, 7, 8, 9, 64, 128, 224, 1024}) {
    EXPECT_LT(correlation(values, lag), 4.5) << lag;
  }
  EXPECT_LT(correlation(box, 0), 4.5);
  EXPECT_LT(correlation(other_image, 0), 4.5);
}

TEST(ErasingNoise, DrawsDependOnTheAddressOnly) {
  const std::vector<float> values = noise(5000);
  for (const std::size_t count : {1, 2, 3, 8, 127, 1023, 1024, 1025, 4999}) {
    EXPECT_EQ(noise(count), std::vector<float>(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(count)));
  }
  PhiloxStream words(address_of(7));
  for (std::size_t i = 0; i < values.size(); i += 2) {
    const std::uint32_t word = words.next_word();
    EXPECT_NEAR(normal_below(values[i]) * 65536, (word & 0xFFFF) + 0.5, 0.01);
    EXPECT_NEAR(normal_below(values[i + 1]) * 65536, (word >> 16) + 0.5, 0.01);
  }
}

// As in timm's RandomErasing: one normal colour, or 0.
TEST(ErasingNoise, OtherModesFillEvenly) {
  std::vector<double> colours;
  for (std::uint32_t position = 0; position < 2000; ++position) {
    const std::vector<float> box = filled(ErasingMode::rand, 3 * 25, position, position % 2);
    for (std::size_t channel = 0; channel < 3; ++channel) {
      colours.push_back(box[channel * 25]);
      for (std::size_t i = 0; i < 25; ++i) {
        ASSERT_EQ(box[channel * 25 + i], box[channel * 25]);
      }
    }
    ASSERT_EQ(filled(ErasingMode::constant, 75, position, 0), std::vector<float>(75));
  }
  double sum = 0, squares = 0;
  for (const double value : colours) {
    sum += value;
    squares += value * value;
  }
  const auto count = static_cast<double>(colours.size());
  EXPECT_NEAR(sum / count, 0, 4.5 / std::sqrt(count));
  EXPECT_NEAR(squares / count, 1, 4.5 * std::sqrt(2 / count));
}

}  // namespace
}  // namespace maskedkd::testing
