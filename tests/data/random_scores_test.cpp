// The random criterion selects every set of k patches with equal probability, shown by counts of known distribution.
#include "maskedkd/base/philox.hpp"
#include "maskedkd/data/random_patches.hpp"
#include "maskedkd/distill/patch_selection.hpp"

#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/sort.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>

namespace maskedkd::testing {
namespace {

PhiloxStream stream(std::uint64_t seed, std::uint32_t step = 0) {
  return PhiloxStream({.seed = seed, .purpose = RandomPurpose::patch_selection, .step = step});
}

at::Tensor draw(std::int64_t images, std::int64_t patches, std::uint64_t seed, std::uint32_t step = 0) {
  PhiloxStream random = stream(seed, step);
  const at::Tensor scores = at::empty({images, patches}, at::kFloat);
  draw_random_scores(random, scores);
  return scores;
}

// [B, K] as [B, N] of 0 and 1.
std::vector<std::vector<int>> membership(const at::Tensor& kept, std::int64_t patches) {
  std::vector<std::vector<int>> rows(static_cast<std::size_t>(kept.size(0)),
                                     std::vector<int>(static_cast<std::size_t>(patches)));
  const auto* values = kept.const_data_ptr<std::int64_t>();
  for (auto& row : rows) {
    for (std::int64_t i = 0; i < kept.size(1); ++i) {
      ++row.at(static_cast<std::size_t>(*values++));
    }
  }
  return rows;
}

TEST(RandomScores, RowsHaveIndependentOrders) {
  for (const std::int64_t patches : {1, 2, 196, 576}) {
    const at::Tensor scores = draw(5, patches, 3);
    EXPECT_TRUE(std::get<0>(scores.sort(1)).equal(at::arange(patches, at::kFloat).expand({5, patches}))) << patches;
  }
  const at::Tensor scores = draw(3, 196, 3);
  EXPECT_FALSE(scores[0].equal(scores[1]) || scores[1].equal(scores[2]));
  EXPECT_TRUE(scores.equal(draw(3, 196, 3)));
  EXPECT_FALSE(scores.equal(draw(3, 196, 4)));
  EXPECT_FALSE(scores.equal(draw(3, 196, 3, /*step=*/1)));
}

// K of N patches without replacement: a patch is kept in n K / N of n images, and
// sum_p (c_p - n K / N)^2 / (n K (N - K) / (N (N - 1))) is chi-square with N - 1 degrees of freedom. The sum over all
// seeds and K has a known mean and variance; counts that are too even would be as wrong as too uneven ones.
TEST(RandomScores, EveryPatchIsEquallyLikely) {
  constexpr std::int64_t kPatches = 16, kImages = 2000;
  double statistic = 0, freedom = 0;
  for (std::uint64_t seed = 0; seed < 40; ++seed) {
    for (const std::int64_t keep : {1, 5, 8, 15}) {
      const at::Tensor kept = select_patches(draw(kImages, kPatches, seed, static_cast<std::uint32_t>(keep)), keep);
      std::vector<double> counts(kPatches, 0.0);
      for (const auto& row : membership(kept, kPatches)) {
        for (std::size_t patch = 0; patch < counts.size(); ++patch) {
          ASSERT_LE(row[patch], 1);  // distinct
          counts[patch] += row[patch];
        }
      }
      const double n = kImages, k = static_cast<double>(keep), all = kPatches;
      for (const double c : counts) {
        statistic += (c - n * k / all) * (c - n * k / all) / (n * k * (all - k) / (all * (all - 1)));
      }
      freedom += all - 1;
    }
  }
  std::printf("    chi-square %.1f of %.0f degrees of freedom\n", statistic, freedom);
  EXPECT_LT(std::abs(statistic - freedom), 5 * std::sqrt(2 * freedom));
}

// Two patches are kept together in n K (K - 1) / (N (N - 1)) images, neighbours as often as others.
TEST(RandomScores, EveryPairIsEquallyLikely) {
  constexpr std::int64_t kPatches = 12, kImages = 20000, kKeep = 6;
  const auto rows = membership(select_patches(draw(kImages, kPatches, 11), kKeep), kPatches);
  const double share = static_cast<double>(kKeep * (kKeep - 1)) / (kPatches * (kPatches - 1));
  const double expected = kImages * share, deviation = std::sqrt(kImages * share * (1 - share));
  for (std::size_t a = 0; a < kPatches; ++a) {
    for (std::size_t b = a + 1; b < kPatches; ++b) {
      int together = 0;
      for (const auto& row : rows) {
        together += row[a] * row[b];
      }
      EXPECT_LT(std::abs(together - expected), 5 * deviation) << a << " " << b;
    }
  }
}

}  // namespace
}  // namespace maskedkd::testing
