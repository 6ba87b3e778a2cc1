#include "maskedkd/augment/erasing.hpp"
#include "codecs/reference.hpp"
#include "maskedkd/augment/augment.hpp"
#include "maskedkd/base/error.hpp"
#include "statistics.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <numbers>

namespace maskedkd::testing {
namespace {

RandomAddress address_of(std::uint32_t position) { return {3, RandomPurpose::erasing_noise, 4, 5, 6, position}; }

std::vector<float> noise(std::size_t count, std::uint32_t position = 7) {
  std::vector<float> values(count);
  fill_erasing_noise(address_of(position), values);
  return values;
}

double normal_below(double x) { return 0.5 * std::erfc(-x / std::numbers::sqrt2); }

TEST(Erasing, NoiseHasTheMomentsAndTheDistributionOfANormal) {
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
TEST(Erasing, NoiseTakesQuantilesOfANormal) {
  std::vector<float> values = noise(2000000);
  std::sort(values.begin(), values.end());
  values.erase(std::unique(values.begin(), values.end()), values.end());
  ASSERT_EQ(values.size(), 65536U);
  for (std::size_t i = 0; i < values.size(); ++i) {
    ASSERT_NEAR(normal_below(values[i]) * 65536, static_cast<double>(i) + 0.5, 0.005) << i;
    ASSERT_EQ(values[i], -values[values.size() - 1 - i]);
  }
}

TEST(Erasing, NeighboursBoxesAndImagesAreIndependent) {
  constexpr std::size_t kCount = 1000000;
  const std::vector<float> values = noise(kCount + 1024), other_image = noise(kCount, 8);
  std::vector<float> box(kCount);
  fill_erasure(ErasingMode::pixel, address_of(7), 1, box);
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

TEST(Erasing, DrawsDependOnTheAddressOnly) {
  const std::vector<float> values = noise(5000);
  for (const std::size_t count : {0, 1, 2, 3, 8, 127, 1023, 1024, 1025, 4999}) {
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
TEST(Erasing, OtherModesFillEvenly) {
  std::vector<double> colours;
  for (std::uint32_t position = 0; position < 2000; ++position) {
    std::vector<float> box(3 * 20);
    fill_erasure(ErasingMode::rand, address_of(position), position % 2, box);
    for (std::size_t channel = 0; channel < 3; ++channel) {
      colours.push_back(box[channel * 20]);
      for (std::size_t i = 0; i < 20; ++i) {
        ASSERT_EQ(box[channel * 20 + i], box[channel * 20]);
      }
    }
    fill_erasure(ErasingMode::constant, address_of(position), 0, box);
    ASSERT_EQ(box, std::vector<float>(60));
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

TEST(Erasing, UpToTheCountOfBoxesShareTheArea) {
  AugmentOptions options;
  options.erasing_probability = 1;
  options.erasing_count = 3;
  std::array<int, 4> counts{};
  double area = 0;
  constexpr int kDraws = 20000;
  for (std::uint32_t i = 0; i < kDraws; ++i) {
    PhiloxStream random(address_of(i));
    const auto boxes = draw_training_plan(random, 300, 300, options).erase;
    ASSERT_LE(boxes.size(), 3U);
    ++counts[boxes.size()];
    for (const PixelBox& box : boxes) {
      area += double{1} * box.height * box.width / (224.0 * 224.0) / kDraws;
    }
  }
  for (int count = 1; count <= 3; ++count) {
    EXPECT_NEAR(counts[static_cast<std::size_t>(count)], kDraws / 3.0, 4.5 * std::sqrt(kDraws * 2 / 9.0));
  }
  EXPECT_NEAR(area, (0.02 + 1.0 / 3) / 2, 0.005);  // for every count, as few boxes are rejected as too long
}

TEST(Erasing, ModesHaveTimmsNames) {
  for (const char* name : {"pixel", "rand", "const"}) {
    EXPECT_EQ(to_string(parse_erasing_mode(name)), name);
  }
  EXPECT_THROW(parse_erasing_mode("noise"), Error);
}

}  // namespace
}  // namespace maskedkd::testing
