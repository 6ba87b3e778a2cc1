// Reports of all ranks are packed, gathered and merged: losses come in the step's order on every number of ranks.
#include "maskedkd/train/step_report.hpp"

#include "maskedkd/train/micro_batch_source.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>

namespace maskedkd {
namespace {

// Merges reports in which micro-batch m has the loss losses[m]; `change` alters one rank's report.
StepReport exchanged(const std::vector<double>& losses, int ranks,
                     const std::function<void(int rank, RankReport&)>& change = {}) {
  const int per_step = static_cast<int>(losses.size());
  std::vector<double> gathered;
  std::size_t length = 0;
  for (int rank = 0; rank < ranks; ++rank) {
    const MicroBatchShare share = micro_batch_share(per_step, rank, ranks);
    RankReport report;
    report.losses.assign(losses.begin() + share.first, losses.begin() + share.last);
    if (change) {
      change(rank, report);
    }
    const std::vector<double> packed = pack_report(report, per_step, ranks);
    EXPECT_TRUE(length == 0 || length == packed.size()) << "a gather needs the same length from every rank";
    length = packed.size();
    gathered.insert(gathered.end(), packed.begin(), packed.end());
  }
  return merge_reports(gathered, per_step, ranks);
}

TEST(StepReport, LossesComeInTheStepsOrderOnEveryNumberOfRanks) {
  for (int count = 1; count <= 13; ++count) {
    std::vector<double> losses;
    for (int m = 0; m < count; ++m) {
      losses.push_back(1.0 / (m + 3));
    }
    for (int ranks = 1; ranks <= count; ++ranks) {
      const StepReport merged = exchanged(losses, ranks);
      EXPECT_EQ(merged.losses, losses) << count << " on " << ranks;
      EXPECT_EQ(merged.loss_sum(), exchanged(losses, 1).loss_sum()) << "the same bits";
      EXPECT_FALSE(merged.stop || merged.checkpoint_due || merged.saving || merged.save_failed);
    }
  }
}

TEST(StepReport, AnyRankCanStopAndFailButOnlyRank0MakesACheckpointDue) {
  for (int speaker = 0; speaker < 4; ++speaker) {
    const auto merged_with = [&](bool RankReport::*flag) {
      return exchanged({1, 2, 3, 4, 5, 6, 7}, 4, [&](int rank, RankReport& report) { report.*flag = rank == speaker; });
    };
    EXPECT_TRUE(merged_with(&RankReport::stop).stop);
    EXPECT_FALSE(merged_with(&RankReport::stop).save_failed);
    EXPECT_TRUE(merged_with(&RankReport::saving).saving);
    EXPECT_TRUE(merged_with(&RankReport::save_failed).save_failed);
    EXPECT_EQ(merged_with(&RankReport::checkpoint_due).checkpoint_due, speaker == 0);
  }
}

TEST(StepReport, TheFirstLossThatIsNotFiniteIsNamed) {
  EXPECT_EQ(exchanged({1, 2, 3, 4}, 2).first_not_finite(), std::nullopt);
  EXPECT_EQ(exchanged({1, 2, NAN, 4, INFINITY}, 2).first_not_finite(), 2);
  EXPECT_EQ(exchanged({1, 2, 3, -std::numeric_limits<double>::infinity()}, 4).first_not_finite(), 3);
}

}  // namespace
}  // namespace maskedkd
