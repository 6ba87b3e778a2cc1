// Which bindings of ranks to cores waste cores, by examples counted by hand and with the real bindings of this test's
// ranks.
#include "maskedkd/comm/core_binding.hpp"
#include "maskedkd/comm/mpi_session.hpp"
#include "support/mpi_test.hpp"

#include <gtest/gtest.h>
#include <sched.h>
#include <spdlog/sinks/ostream_sink.h>
#include <spdlog/spdlog.h>

#include <cstdlib>
#include <numeric>
#include <sstream>

namespace maskedkd {
namespace {

using testing::mpi_session;

std::vector<RankCores> on_one_host(const std::vector<std::vector<int>>& allowed, int available) {
  std::vector<RankCores> ranks;
  for (const std::vector<int>& cores : allowed) {
    ranks.push_back({static_cast<int>(ranks.size()), "n1", cores, available});
  }
  return ranks;
}

std::string warning(const std::vector<RankCores>& ranks) {
  const std::vector<std::string> lines = crowded_cores(ranks, "unbind them");
  EXPECT_LE(lines.size(), 1U);
  return lines.empty() ? "" : lines.front();
}

// This is the effect of an inherited SLURM_CPU_BIND=mask_cpu:0x1.
TEST(CoreBinding, AllRanksOnOneCoreAreNamed) {
  EXPECT_EQ(warning(on_one_host({{0}, {0}}, 2)),
            "ranks 0, 1 on n1 may only run on core 0, although the job could use 2 cores there: they slow each other "
            "down; unbind them");
}

TEST(CoreBinding, OnlyTheCrowdedCoresAreNamed) {
  EXPECT_NE(warning(on_one_host({{0}, {1}, {1}, {3}}, 4)).find("ranks 1, 2 on n1 may only run on core 1,"),
            std::string::npos);
  EXPECT_NE(warning(on_one_host({{0, 1}, {0, 1}, {0, 1}, {2, 3, 4}}, 8))
                .find("ranks 0, 1, 2 on n1 may only run on cores 0, 1,"),
            std::string::npos);
  EXPECT_NE(warning(on_one_host({{0}, {0}, {0, 1, 2, 3}}, 4)).find("ranks 0, 1 on n1"), std::string::npos)
      << "one rank is not bound";
}

TEST(CoreBinding, RanksThatCanSpreadAreFine) {
  EXPECT_EQ(warning(on_one_host({{0}, {1}}, 2)), "") << "bound apart";
  EXPECT_EQ(warning(on_one_host({{0, 1}, {0, 1}}, 2)), "") << "not bound";
  EXPECT_EQ(warning(on_one_host({{0, 1}, {1, 2}, {2, 0}}, 64)), "") << "overlapping, with a core for each";
  EXPECT_EQ(warning(on_one_host({{5}}, 64)), "") << "a single rank";
  EXPECT_EQ(warning(on_one_host({{}, {}}, 0)), "") << "not known";
}

TEST(CoreBinding, MoreRanksThanCoresAreFineIfAllCoresAreUsed) {
  EXPECT_EQ(warning(on_one_host({{0, 1}, {0, 1}, {0, 1}, {0, 1}}, 2)), "");
  EXPECT_EQ(warning(on_one_host({{0}, {0}, {1}, {1}}, 2)), "");
  EXPECT_EQ(warning(on_one_host({{0}, {0}}, 1)), "") << "the job has one core";
  EXPECT_NE(warning(on_one_host({{0}, {0}, {0}, {0}}, 2)), "") << "one of two cores is idle";
}

TEST(CoreBinding, EachHostIsCheckedSeparately) {
  std::vector<RankCores> ranks = on_one_host({{0}, {1}}, 2);
  ranks.push_back({2, "n2", {0}, 2});
  ranks.push_back({3, "n2", {1}, 2});
  EXPECT_TRUE(crowded_cores(ranks, "").empty());
  ranks[3].allowed = {0};
  ASSERT_EQ(crowded_cores(ranks, "").size(), 1U);
  EXPECT_NE(crowded_cores(ranks, "").front().find("ranks 2, 3 on n2"), std::string::npos);
}

class Bound : public ::testing::Test {
 protected:
  void SetUp() override { ASSERT_EQ(sched_getaffinity(0, sizeof(before_), &before_), 0); }
  void TearDown() override {
    sched_setaffinity(0, sizeof(before_), &before_);
    mpi_session().barrier();
  }
  // What rank 0 logs if every rank is bound to one of these cores.
  std::string logged() {
    const auto sink_text = std::make_shared<spdlog::sinks::ostream_sink_mt>(text_);
    const auto before = spdlog::default_logger();
    spdlog::set_default_logger(std::make_shared<spdlog::logger>("test", sink_text));
    warn_of_crowded_cores(mpi_session());
    spdlog::set_default_logger(before);
    return text_.str();
  }

  cpu_set_t before_{};
  std::ostringstream text_;
};

TEST_F(Bound, RanksOnTheSameCoreGiveAWarningAndStayBound) {
  if (CPU_COUNT(&before_) < 2) {
    GTEST_SKIP() << "one core only";
  }
  int core = 0;
  while (!CPU_ISSET(core, &before_)) {
    ++core;
  }
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(core, &one);
  ASSERT_EQ(sched_setaffinity(0, sizeof(one), &one), 0);
  const std::string text = logged();
  EXPECT_EQ(text.find(" may only run on core ") != std::string::npos,
            mpi_session().size() > 1 && mpi_session().rank() == 0)
      << text;
  cpu_set_t after;
  ASSERT_EQ(sched_getaffinity(0, sizeof(after), &after), 0);
  EXPECT_TRUE(CPU_EQUAL(&one, &after));
}

TEST_F(Bound, UnboundRanksGiveNoWarning) { EXPECT_EQ(logged(), ""); }

}  // namespace
}  // namespace maskedkd
