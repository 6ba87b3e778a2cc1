#include "watchdog/hang_diagnosis.hpp"

#include <gtest/gtest.h>

namespace maskedkd {
namespace {

constexpr double kTimeout_s = 60;

RankState rank_that(const std::string& doing, double stalled_s) {
  RankState state;
  state.host = "a";
  state.link = RankLink::linked;
  state.silent_s = 0.4;
  state.stalled_s = stalled_s;
  state.awake = 0.9;
  state.pace = Activity::Pace::usual;
  state.doing = doing;
  return state;
}

RankState waits(std::uint64_t collectives, double stalled_s) {
  RankState state = rank_that("step 17: adding gradients, waits for the others in exchange", stalled_s);
  state.waits = true;
  state.collectives = collectives;
  return state;
}

std::vector<int> hung_ranks(const std::vector<RankState>& ranks, std::optional<double> timeout_s = kTimeout_s) {
  const auto hang = find_hang(ranks, timeout_s);
  return hang ? hang->hung_ranks : std::vector<int>{};
}
using Ranks = std::vector<int>;

TEST(HangDiagnosis, AWorkingRankHangsAfterTheTimeout) {
  EXPECT_EQ(hung_ranks({rank_that("step 17: forward", 59), waits(5, 300)}), Ranks{});
  EXPECT_EQ(hung_ranks({rank_that("step 17: forward", 60), waits(5, 300)}), Ranks{0});
  EXPECT_EQ(hung_ranks({waits(5, 61), rank_that("x", 61), waits(4, 61), rank_that("y", 62)}), (Ranks{1, 3}));
}

TEST(HangDiagnosis, TheDescriptionNamesRankHostAndActivity) {
  const auto hang = find_hang(std::vector{waits(5, 70), rank_that("step 17: waiting for data", 64.2)}, kTimeout_s);
  ASSERT_TRUE(hang);
  EXPECT_EQ(hang->description, "rank 1 on host a has hung for 64 s: step 17: waiting for data");
}

TEST(HangDiagnosis, ARankThatDoesNotAnswerIsNamedWhateverItDidLast) {
  RankState stopped = rank_that("step 17: forward", 0.2);
  stopped.host = "b";
  stopped.silent_s = 59;
  EXPECT_EQ(hung_ranks({waits(9, 59), waits(9, 59), stopped}), Ranks{});
  stopped.silent_s = 60;
  const auto hang = find_hang(std::vector{waits(9, 60), waits(9, 60), stopped}, kTimeout_s);
  ASSERT_TRUE(hang);
  EXPECT_EQ(hang->hung_ranks, Ranks{2});
  EXPECT_EQ(hang->description,
            "rank 2 on host b has not responded for 60 s (stopped, or its connection is dead); last: step 17: forward");
}

// If a rank was stopped while it waited in a collective, the ranks that wait with it are not named meanwhile.
TEST(HangDiagnosis, WaitingRanksAreNotNamedWhileAnotherIsSilent) {
  RankState stopped = waits(9, 0.2);
  stopped.silent_s = 30;
  EXPECT_EQ(hung_ranks({waits(9, 61), waits(8, 61), stopped}), Ranks{});
}

TEST(HangDiagnosis, IfAllWaitThoseWithTheFewestCollectivesAreNamed) {
  EXPECT_EQ(hung_ranks({waits(9, 70), waits(8, 70), waits(9, 70)}), Ranks{1});
  EXPECT_EQ(hung_ranks({waits(9, 70), waits(8, 59), waits(9, 70)}), Ranks{}) << "it has just reached its collective";
  EXPECT_EQ(hung_ranks({waits(9, 70), waits(9, 70)}), (Ranks{0, 1}));
}

TEST(HangDiagnosis, OfRanksWithEqualCountsTheSleepingOnesAreNamedIfOthersPoll) {
  RankState sleeper = waits(9, 70);
  sleeper.awake = 0.1;
  EXPECT_EQ(hung_ranks({waits(9, 70), sleeper, waits(9, 70)}), Ranks{1});
  EXPECT_EQ(hung_ranks({sleeper, sleeper}), (Ranks{0, 1}));
}

TEST(HangDiagnosis, ADeadRankIsLeftToTheLauncherForAMoment) {
  RankState dead = rank_that("step 17: forward", 0.2);
  dead.link = RankLink::died;
  dead.silent_s = 1;
  EXPECT_EQ(hung_ranks({waits(9, 1), dead}), Ranks{});
  dead.silent_s = 3;
  const auto hang = find_hang(std::vector{waits(9, 3), dead}, kTimeout_s);
  ASSERT_TRUE(hang);
  EXPECT_EQ(hang->description, "rank 1 on host a has died; last: step 17: forward");
}

TEST(HangDiagnosis, ARankThatHasLeftIsNoHang) {
  RankState left = rank_that("done", 0);
  left.link = RankLink::left;
  left.silent_s = 1000;
  left.stalled_s = 1000;
  EXPECT_EQ(hung_ranks({rank_that("step 17: forward", 1), left}), Ranks{});
  EXPECT_EQ(hung_ranks({left, left}), Ranks{});
}

TEST(HangDiagnosis, ARankWithoutLinkIsNamedOnlyIfAllOthersWait) {
  RankState absent;
  absent.silent_s = 1000;
  EXPECT_EQ(hung_ranks({rank_that("step 17: forward", 1), waits(9, 1000), absent}), Ranks{});
  EXPECT_EQ(hung_ranks({waits(9, 80), waits(9, 80), absent}), Ranks{});
  EXPECT_EQ(hung_ranks({waits(9, 90), waits(9, 90), absent}), Ranks{2});
}

TEST(HangDiagnosis, TheTimeoutIsLearnedFromTheLongestInterval) {
  std::vector<RankState> ranks = {rank_that("step 17: forward", 0), waits(3, 0)};
  EXPECT_EQ(hang_timeout_s(ranks, {}), 60);
  ranks[1].longest_s = 7;
  EXPECT_EQ(hang_timeout_s(ranks, {}), 70);
  EXPECT_EQ(hang_timeout_s(ranks, 4), 4);
}

TEST(HangDiagnosis, SlowActivitiesGetFiveTimesALearnedTimeout) {
  RankState first = rank_that("reading a checkpoint", 299);
  first.pace = Activity::Pace::slow;
  EXPECT_EQ(hung_ranks({first, waits(1, 299)}, {}), Ranks{});
  EXPECT_EQ(hung_ranks({first, waits(1, 299)}, 60), Ranks{0}) << "a timeout of the user is exact";
  first.stalled_s = 300;
  EXPECT_EQ(hung_ranks({first, waits(1, 299)}, {}), Ranks{0});
}

TEST(HangDiagnosis, ManyHangingRanksAreNamedInOneShortLine) {
  std::vector<RankState> ranks(7, rank_that("step 17: forward", 70));
  ranks[0] = waits(9, 70);
  const auto hang = find_hang(ranks, kTimeout_s);
  ASSERT_TRUE(hang);
  EXPECT_EQ(hang->hung_ranks, (Ranks{1, 2, 3, 4, 5, 6}));
  EXPECT_TRUE(hang->description.ends_with("; likewise ranks 5, 6")) << hang->description;
}

}  // namespace
}  // namespace maskedkd
