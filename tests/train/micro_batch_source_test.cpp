#include "maskedkd/train/micro_batch_source.hpp"

#include <gtest/gtest.h>

#include <map>
#include <set>
#include <tuple>

namespace maskedkd {
namespace {

using Place = std::tuple<std::uint32_t, std::uint32_t, std::uint32_t>;  // epoch, step, micro-batch
using Order = std::map<Place, std::vector<std::int64_t>>;

SamplerOptions sampler(int repeats) {
  SamplerOptions options;
  options.num_records = 1000;
  options.micro_batch = 16;
  options.micro_batches_per_step = 6;
  options.repeats = repeats;
  options.seed = 11;
  return options;
}

constexpr std::int64_t kEpochs = 3;

// Collects what all ranks together receive from (epoch, step) on, until `steps` steps are done; returns where they
// stopped.
std::pair<std::int64_t, std::int64_t> collect(const SamplerOptions& options, int world_size, std::int64_t epoch,
                                              std::int64_t step, std::int64_t steps, Order& order) {
  for (int rank = 0; rank < world_size; ++rank) {
    const MicroBatchShare share = micro_batch_share(options.micro_batches_per_step, rank, world_size);
    EXPECT_LT(share.first, share.last);
    MicroBatchSource source(options, share, kEpochs, epoch, step);
    for (std::int64_t i = 0; i < steps * (share.last - share.first); ++i) {
      const auto request = source.next();
      if (!request) {
        break;
      }
      const bool is_new =
          order.emplace(Place(request->epoch, request->step, request->micro_batch), request->indices).second;
      EXPECT_TRUE(is_new) << "received twice";
    }
  }
  const std::int64_t done = epoch * options.steps_per_epoch() + step + steps;
  return {done / options.steps_per_epoch(), done % options.steps_per_epoch()};
}

TEST(MicroBatchSource, EveryRankCountSeesTheSameOrderAlsoAcrossChanges) {
  for (const int repeats : {1, 3}) {
    const SamplerOptions options = sampler(repeats);
    const std::int64_t all = kEpochs * options.steps_per_epoch();
    Order alone;
    collect(options, 1, 0, 0, all, alone);
    ASSERT_EQ(alone.size(), static_cast<std::size_t>(all * options.micro_batches_per_step));
    for (int world_size = 2; world_size <= 6; ++world_size) {
      Order shared;
      collect(options, world_size, 0, 0, all, shared);
      EXPECT_EQ(alone, shared) << world_size << " ranks";
    }
    // The number of ranks changes every few steps, for every pair of numbers.
    for (int before = 1; before <= 6; ++before) {
      for (int after = 1; after <= 6; ++after) {
        Order changing;
        std::int64_t epoch = 0, step = 0;
        for (std::int64_t turn = 0; epoch < kEpochs; ++turn) {
          std::tie(epoch, step) = collect(options, turn % 2 == 0 ? before : after, epoch, step, 4, changing);
        }
        EXPECT_EQ(alone, changing) << before << " and " << after << " ranks in turn";
      }
    }
  }
}

// Collects the nodes of the tree of halves of halves that a single rank sums.
void collect_nodes(int first, int last, std::set<std::pair<int, int>>& nodes) {
  nodes.insert({first, last});
  if (last - first > 1) {
    const int middle = first + (last - first) / 2;
    collect_nodes(first, middle, nodes);
    collect_nodes(middle, last, nodes);
  }
}

TEST(MicroBatchShare, SharesCoverAStepAndAreNodesOfTheTree) {
  for (int count = 1; count <= 100; ++count) {
    std::set<std::pair<int, int>> nodes;
    collect_nodes(0, count, nodes);
    for (int world_size = 1; world_size <= count; ++world_size) {
      int next = 0;
      for (int rank = 0; rank < world_size; ++rank) {
        const MicroBatchShare share = micro_batch_share(count, rank, world_size);
        ASSERT_EQ(share.first, next) << count << " micro-batches, rank " << rank << " of " << world_size;
        ASSERT_LT(share.first, share.last);
        ASSERT_LE(share.last - share.first, (count + world_size - 1) / world_size);
        if ((world_size & (world_size - 1)) == 0) {
          ASSERT_TRUE(nodes.count({share.first, share.last})) << count << " micro-batches on " << world_size;
        }
        next = share.last;
      }
      ASSERT_EQ(next, count);
    }
  }
}

TEST(MicroBatchSource, EndsAfterTheLastEpoch) {
  const SamplerOptions options = sampler(1);
  MicroBatchSource finished(options, {0, 6}, kEpochs, kEpochs, 0);
  EXPECT_FALSE(finished.next());
  MicroBatchSource last(options, {2, 3}, kEpochs, kEpochs - 1, options.steps_per_epoch() - 1);
  EXPECT_TRUE(last.next());
  EXPECT_FALSE(last.next());
  EXPECT_FALSE(last.next());
}

}  // namespace
}  // namespace maskedkd
