// Compares the distributions of PhiloxStream's draws with the cumulative functions of Boost.Math. Seeds are fixed, so
// that a test passes always or never; thresholds are at p = 1e-4 or beyond.
#include "maskedkd/base/philox.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <boost/math/special_functions/beta.hpp>
#include <boost/math/special_functions/gamma.hpp>
#include <cmath>
#include <functional>
#include <vector>

namespace maskedkd {
namespace {

PhiloxStream stream_of(std::uint64_t seed) { return PhiloxStream({seed, RandomPurpose::mixing, 1, 2, 3, 4}); }

std::vector<double> draw(int count, std::uint64_t seed, const std::function<double(PhiloxStream&)>& one) {
  PhiloxStream stream = stream_of(seed);
  std::vector<double> values(static_cast<std::size_t>(count));
  std::generate(values.begin(), values.end(), [&] { return one(stream); });
  return values;
}

// One draw from each of many addresses, as augmentation and mixing use streams.
std::vector<double> draw_across_addresses(int count, const std::function<double(PhiloxStream&)>& one) {
  std::vector<double> values;
  for (int i = 0; i < count; ++i) {
    const auto n = static_cast<std::uint32_t>(i);
    PhiloxStream stream({5, RandomPurpose::augmentation, 0, n / 1024, n / 128 % 8, n % 128});
    values.push_back(one(stream));
  }
  return values;
}

// sqrt(n) times the largest distance between the empirical and the true cumulative function.
double kolmogorov_smirnov(std::vector<double> values, const std::function<double(double)>& cumulative) {
  std::sort(values.begin(), values.end());
  const double n = static_cast<double>(values.size());
  double distance = 0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    const double expected = cumulative(values[i]);
    const double before = static_cast<double>(i) / n;
    distance = std::max({distance, expected - before, before + 1 / n - expected});
  }
  return std::sqrt(n) * distance;
}
// Kolmogorov's distribution: this distance is exceeded with probability 2 exp(-2 x^2) = 1e-4.
constexpr double kLargestDistance = 2.225;

double chi_square_p(const std::vector<double>& observed, double expected_each) {
  double statistic = 0;
  for (const double count : observed) {
    statistic += (count - expected_each) * (count - expected_each) / expected_each;
  }
  return boost::math::gamma_q((static_cast<double>(observed.size()) - 1) / 2, statistic / 2);
}

double mean(const std::vector<double>& values, int power = 1, double centre = 0) {
  double sum = 0;
  for (const double value : values) {
    sum += std::pow(value - centre, power);
  }
  return sum / static_cast<double>(values.size());
}

TEST(Uniform, FillsTheUnitIntervalAndNeverReachesOne) {
  const auto identity = [](double x) { return x; };
  const auto one = [](PhiloxStream& stream) { return stream.uniform(); };
  for (const auto& values : {draw(200000, 1, one), draw_across_addresses(200000, one)}) {
    EXPECT_GE(*std::min_element(values.begin(), values.end()), 0.0);
    EXPECT_LT(*std::max_element(values.begin(), values.end()), 1.0);
    EXPECT_LT(kolmogorov_smirnov(values, identity), kLargestDistance);
  }
  // Values have 53 bits: the lowest bit is set in half of them.
  const auto values = draw(10000, 2, one);
  const auto odd = std::count_if(values.begin(), values.end(), [](double x) { return std::fmod(x * 0x1p53, 2) == 1; });
  EXPECT_NEAR(static_cast<double>(odd), 5000, 5 * 50);
  const auto shifted = draw(100000, 3, [](PhiloxStream& stream) { return stream.uniform(-0.3, 2.7); });
  EXPECT_LT(kolmogorov_smirnov(shifted, [](double x) { return (x + 0.3) / 3; }), kLargestDistance);
}

TEST(Uniform, SuccessivePairsFillTheSquare) {
  std::vector<double> cells(256);
  PhiloxStream stream = stream_of(4);
  for (int i = 0; i < 256 * 1000; ++i) {
    const auto x = static_cast<std::size_t>(stream.uniform() * 16);
    const auto y = static_cast<std::size_t>(stream.uniform() * 16);
    ++cells[x * 16 + y];
  }
  EXPECT_GT(chi_square_p(cells, 1000), 1e-4);
}

TEST(Below, EveryNumberIsEquallyLikely) {
  for (const std::uint32_t bound : {1u, 2u, 3u, 7u, 10u, 100u, 1000u}) {
    PhiloxStream stream = stream_of(bound);
    std::vector<double> counts(bound);
    for (std::uint32_t i = 0; i < bound * 500; ++i) {
      const std::uint32_t value = stream.below(bound);
      ASSERT_LT(value, bound);
      ++counts[value];
    }
    if (bound > 1) {
      EXPECT_GT(chi_square_p(counts, 500), 1e-4) << bound;
    }
  }
}

// The bound is 3 * 2^30 of 2^32: `word % bound` would favour the lowest third, a product without rejection every third
// number.
TEST(Below, LargeBoundsHaveNoModuloBias) {
  constexpr std::uint32_t bound = 3u << 30;
  PhiloxStream stream = stream_of(9);
  std::vector<double> thirds(3), residues(3);
  for (int i = 0; i < 30000; ++i) {
    const std::uint32_t value = stream.below(bound);
    ASSERT_LT(value, bound);
    ++thirds[value >> 30];
    ++residues[value % 3];
  }
  EXPECT_GT(chi_square_p(thirds, 10000), 1e-4);
  EXPECT_GT(chi_square_p(residues, 10000), 1e-4);
}

TEST(Normal, HasTheMomentsAndTheDistribution) {
  const auto one = [](PhiloxStream& stream) { return stream.normal(); };
  const auto cumulative = [](double x) { return 0.5 * std::erfc(-x / std::sqrt(2.0)); };
  for (const auto& values : {draw(400000, 11, one), draw_across_addresses(400000, one)}) {
    EXPECT_LT(kolmogorov_smirnov(values, cumulative), kLargestDistance);
    const double n = static_cast<double>(values.size());
    EXPECT_NEAR(mean(values, 1), 0, 5 / std::sqrt(n));
    EXPECT_NEAR(mean(values, 2), 1, 5 * std::sqrt(2 / n));
    EXPECT_NEAR(mean(values, 3), 0, 5 * std::sqrt(15 / n));
    EXPECT_NEAR(mean(values, 4), 3, 5 * std::sqrt(96 / n));
  }
}

// The two values of one Box-Muller transform must not correlate, nor must their squares.
TEST(Normal, NeighboursAreIndependent) {
  const auto values = draw(400000, 12, [](PhiloxStream& stream) { return stream.normal(); });
  double product = 0, squares = 0;
  for (std::size_t i = 0; i + 1 < values.size(); i += 2) {
    product += values[i] * values[i + 1];
    squares += (values[i] * values[i] - 1) * (values[i + 1] * values[i + 1] - 1);
  }
  const double pairs = static_cast<double>(values.size()) / 2;
  EXPECT_NEAR(product / pairs, 0, 5 / std::sqrt(pairs));
  EXPECT_NEAR(squares / pairs, 0, 5 * 2 / std::sqrt(pairs));
}

TEST(Gamma, FollowsItsDistributionAboveAndBelowShapeOne) {
  for (const double shape : {0.1, 0.5, 0.8, 1.0, 1.7, 3.0, 20.0}) {
    const auto values = draw(100000, 21, [&](PhiloxStream& stream) { return stream.gamma(shape); });
    EXPECT_LT(kolmogorov_smirnov(values, [&](double x) { return boost::math::gamma_p(shape, x); }), kLargestDistance)
        << shape;
    const double n = static_cast<double>(values.size());
    EXPECT_NEAR(mean(values, 1), shape, 5 * std::sqrt(shape / n)) << shape;
    EXPECT_NEAR(mean(values, 2, shape), shape, 5 * std::sqrt((2 * shape * shape + 6 * shape) / n)) << shape;
  }
}

// Beta(0.8, 0.8) is Mixup's lambda, Beta(1, 1) CutMix's. Parameters below 0.2 are not tested: too many values would lie
// within a rounding error of 1 in double precision.
TEST(Beta, FollowsItsDistribution) {
  const std::vector<std::pair<double, double>> parameters = {{0.8, 0.8}, {1, 1},   {0.2, 0.2},
                                                             {2, 5},     {5, 0.5}, {30, 30}};
  for (const auto& [a, b] : parameters) {
    const auto one = [&, a = a, b = b](PhiloxStream& stream) { return stream.beta(a, b); };
    for (const auto& values : {draw(100000, 31, one), draw_across_addresses(100000, one)}) {
      EXPECT_GE(*std::min_element(values.begin(), values.end()), 0.0);
      EXPECT_LE(*std::max_element(values.begin(), values.end()), 1.0);
      EXPECT_LT(kolmogorov_smirnov(values, [&, a = a, b = b](double x) { return boost::math::ibeta(a, b, x); }),
                kLargestDistance)
          << a << ", " << b;
      const double variance = a * b / ((a + b) * (a + b) * (a + b + 1));
      const double n = static_cast<double>(values.size());
      EXPECT_NEAR(mean(values), a / (a + b), 5 * std::sqrt(variance / n));
    }
  }
}

}  // namespace
}  // namespace maskedkd
