#include "maskedkd/data/sampler.hpp"
#include "codecs/reference.hpp"
#include "maskedkd/base/error.hpp"

#include <algorithm>
#include <numeric>
#include <random>
#include <set>

namespace maskedkd::testing {
namespace {

using Indices = std::vector<std::int64_t>;

SamplerOptions options_of(std::int64_t num_records, int micro_batch, int per_step, int repeats = 1,
                          std::uint64_t seed = 7) {
  return {num_records, micro_batch, per_step, repeats, seed};
}

Indices epoch_of(const SamplerOptions& options, std::uint32_t epoch) {
  const EpochOrder order(options, epoch);
  Indices all;
  for (std::int64_t step = 0; step < options.steps_per_epoch(); ++step) {
    for (int micro_batch = 0; micro_batch < options.micro_batches_per_step; ++micro_batch) {
      const Indices part = order.micro_batch(step, micro_batch);
      EXPECT_EQ(static_cast<int>(part.size()), options.micro_batch);
      all.insert(all.end(), part.begin(), part.end());
    }
  }
  return all;
}

// The permutation, from steps of one image.
Indices permutation_of(std::int64_t num_records, std::uint64_t seed, std::uint32_t epoch) {
  return epoch_of(options_of(num_records, 1, 1, 1, seed), epoch);
}

// reference.py deals out unshuffled numbers as DeiT's sampler does, for several numbers of processes.
TEST(Sampler, MicroBatchesAreThoseOfDeitsSamplerWithAsManyProcesses) {
  const Tensors deals = reference("sampler.safetensors");
  int num_micro_batches = 0;
  for (const int length : {256, 300, 1000, 2560, 4099}) {
    const Indices permutation = permutation_of(length, 7, 4);
    for (const int processes : {1, 2, 4, 8}) {
      const at::Tensor& dealt = deals.at(fmt::format("{}.3.{}", length, processes));
      const Indices numbers = values_of<std::int64_t>(dealt);
      const std::int64_t selected = dealt.size(1);
      for (const int batch : {1, 8, 32}) {
        const SamplerOptions options = options_of(length, batch, processes, 3);
        ASSERT_EQ(options.steps_per_epoch(), selected / batch);
        const EpochOrder order(options, 4);
        for (std::int64_t step = 0; step < options.steps_per_epoch(); ++step) {
          for (int process = 0; process < processes; ++process) {
            Indices expected;
            for (int position = 0; position < batch; ++position) {
              const std::int64_t number =
                  numbers[static_cast<std::size_t>(process * selected + step * batch + position)];
              expected.push_back(permutation[static_cast<std::size_t>(number)]);
            }
            ASSERT_EQ(order.micro_batch(step, process), expected)
                << length << " images, " << processes << " x " << batch;
            ++num_micro_batches;
          }
        }
      }
    }
  }
  EXPECT_GT(num_micro_batches, 1000);
}

TEST(Sampler, AStepHasTheSameImagesForAnySizeOfMicroBatch) {
  for (const int repeats : {1, 3}) {
    std::vector<std::multiset<std::int64_t>> first;
    for (const auto& [micro_batch, per_step] : {std::pair(64, 1), {32, 2}, {16, 4}, {8, 8}, {2, 32}}) {
      const SamplerOptions options = options_of(1500, micro_batch, per_step, repeats);
      const EpochOrder order(options, 2);
      std::vector<std::multiset<std::int64_t>> steps;
      for (std::int64_t step = 0; step < options.steps_per_epoch(); ++step) {
        steps.emplace_back();
        for (int m = 0; m < per_step; ++m) {
          const Indices part = order.micro_batch(step, m);
          steps.back().insert(part.begin(), part.end());
        }
      }
      ASSERT_FALSE(steps.empty());
      first = first.empty() ? steps : first;
      EXPECT_EQ(steps, first) << micro_batch << " x " << per_step;
    }
  }
}

// With repeat_locality a step has the same multiset of images, and a micro-batch of 12 contains 4 images three times
// (except where its ends split a triple).
TEST(Sampler, LocalityKeepsAStepsImagesAndPutsRepeatsTogether) {
  for (const auto& [micro_batch, per_step] : {std::pair(12, 4), {12, 1}, {32, 8}, {7, 3}}) {
    SamplerOptions options = options_of(2000, micro_batch, per_step, 3);
    const EpochOrder dealt(options, 5);
    options.repeat_locality = true;
    const EpochOrder local(options, 5);
    std::size_t num_images = 0, num_distinct = 0;
    for (std::int64_t step = 0; step < options.steps_per_epoch(); ++step) {
      std::multiset<std::int64_t> one, other;
      for (int m = 0; m < per_step; ++m) {
        const Indices a = dealt.micro_batch(step, m), b = local.micro_batch(step, m);
        one.insert(a.begin(), a.end());
        other.insert(b.begin(), b.end());
        num_images += b.size();
        num_distinct += std::set<std::int64_t>(b.begin(), b.end()).size();
      }
      ASSERT_EQ(one, other) << micro_batch << " x " << per_step << ", step " << step;
    }
    EXPECT_LE(num_distinct, num_images / 3 + num_images / static_cast<std::size_t>(micro_batch) * 4 / 3 + 1);
  }
}

TEST(Sampler, ImageNetHasThePublishedNumbers) {
  const SamplerOptions options = options_of(1281167, 128, 8, 3);
  EXPECT_EQ(options.steps_per_epoch(), 1251);
  const Indices all = epoch_of(options, 0);
  EXPECT_EQ(all.size(), 1281024u);
  const std::set<std::int64_t> distinct(all.begin(), all.end());
  EXPECT_EQ(distinct.size(), 427008u);
  EXPECT_GE(*distinct.begin(), 0);
  EXPECT_LT(*distinct.rbegin(), 1281167);
  EXPECT_EQ(options_of(1281167, 128, 8, 1).steps_per_epoch(), 1251);
}

TEST(Sampler, APlainEpochHoldsEveryImageAtMostOnce) {
  std::mt19937 random(1);
  for (int trial = 0; trial < 30; ++trial) {
    const auto length = static_cast<std::int64_t>(random() % 3000 + 100);
    const int micro_batch = static_cast<int>(random() % 20 + 1), per_step = static_cast<int>(random() % 5 + 1);
    const SamplerOptions options = options_of(length, micro_batch, per_step);
    Indices all = epoch_of(options, static_cast<std::uint32_t>(trial));
    EXPECT_EQ(static_cast<std::int64_t>(all.size()), length / options.global_batch() * options.global_batch());
    std::sort(all.begin(), all.end());
    EXPECT_EQ(std::adjacent_find(all.begin(), all.end()), all.end());
    EXPECT_GE(all.front(), 0);
    EXPECT_LT(all.back(), length);
  }
}

TEST(Sampler, EpochsAndSeedsPermuteDifferentlyAndRepeatably) {
  const Indices one = permutation_of(2000, 7, 0);
  Indices sorted = one, identity(2000);
  std::sort(sorted.begin(), sorted.end());
  std::iota(identity.begin(), identity.end(), 0);
  EXPECT_EQ(sorted, identity);
  EXPECT_EQ(one, permutation_of(2000, 7, 0));
  const auto agreement = [&](const Indices& other) {
    int equal = 0;
    for (std::size_t i = 0; i < one.size(); ++i) {
      equal += one[i] == other[i] ? 1 : 0;
    }
    return equal;
  };
  // Two random permutations agree in one place on average.
  EXPECT_LT(agreement(identity), 10);
  EXPECT_LT(agreement(permutation_of(2000, 7, 1)), 10);
  EXPECT_LT(agreement(permutation_of(2000, 8, 0)), 10);
  EXPECT_LT(agreement(permutation_of(2000, 7 + (std::uint64_t{1} << 40), 0)), 10);
}

// Each image must be at each place equally often: chi-square over 4000 epochs of 16 images, 15 degrees of freedom per
// place.
TEST(Sampler, EveryPlaceIsEquallyLikely) {
  constexpr int kImages = 16, kEpochs = 4000;
  std::array<std::array<int, kImages>, kImages> counts{};
  for (std::uint32_t epoch = 0; epoch < kEpochs; ++epoch) {
    const Indices order = permutation_of(kImages, 3, epoch);
    for (std::size_t place = 0; place < kImages; ++place) {
      ++counts[place][static_cast<std::size_t>(order[place])];
    }
  }
  double chi_square = 0;
  const double expected = static_cast<double>(kEpochs) / kImages;
  for (const auto& row : counts) {
    for (const int count : row) {
      chi_square += (count - expected) * (count - expected) / expected;
    }
  }
  EXPECT_NEAR(chi_square, 225, 4.5 * std::sqrt(2.0 * 225));  // 15 * 15 degrees of freedom
}

TEST(Sampler, ImpossibleSizesAreRefused) {
  EXPECT_THROW(EpochOrder(options_of(1023, 128, 8), 0), Error);
  EXPECT_NO_THROW(EpochOrder(options_of(1024, 128, 8), 0));
  EXPECT_THROW(EpochOrder(options_of(0, 1, 1), 0), Error);
  EXPECT_THROW(EpochOrder(options_of(10, 0, 1), 0), Error);
  EXPECT_THROW(EpochOrder(options_of(10, 1, 0), 0), Error);
  EXPECT_THROW(EpochOrder(options_of(10, 1, 1, 0), 0), Error);
  EXPECT_THROW(options_of(std::int64_t{1} << 33, 1, 1).validate(), Error);
}

}  // namespace
}  // namespace maskedkd::testing
