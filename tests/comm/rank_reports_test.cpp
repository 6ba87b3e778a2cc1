#include "maskedkd/comm/rank_reports.hpp"
#include "maskedkd/comm/mpi_session.hpp"
#include "support/mpi_test.hpp"

#include <gtest/gtest.h>

#include <array>
#include <stdexcept>

namespace maskedkd {
namespace {

using testing::mpi_session;

void receive_until_all_have_finished(RankReports& reports) {
  while (mpi_session().rank() == 0 && !reports.all_finished()) {
    reports.receive();
  }
}

TEST(RankReports, TheNewestReportsOfAllRanksAreSummedAndTheLastOnesArrive) {
  const int rank = mpi_session().rank(), size = mpi_session().size();
  for (int round = 0; round < 20; ++round) {
    RankReports reports(mpi_session(), 2);
    for (int i = 0; i < 50; ++i) {
      reports.report(std::array{1.0 * i, -1.0});
    }
    EXPECT_FALSE(rank == 0 && reports.all_finished());
    reports.finish(std::array{100.0 + rank, 0.5});
    receive_until_all_have_finished(reports);
    if (rank == 0) {
      EXPECT_EQ(reports.sum(), (std::vector{100.0 * size + size * (size - 1) / 2.0, 0.5 * size}));
    }
  }
}

// One rank throws between two reports; the other ranks continue, and nothing may wait for it.
TEST(RankReports, AnExceptionOnOneRankWaitsForNoOther) {
  const int rank = mpi_session().rank(), last = mpi_session().size() - 1;
  try {
    RankReports reports(mpi_session(), 1);
    reports.report(std::array{1.0});
    if (rank == last) {
      throw std::runtime_error("a disk is full");
    }
    // Ends the block only after the other rank has left it.
    mpi_session().barrier();
    reports.finish(std::array{2.0});
    throw std::runtime_error("the job ends");
  } catch (const std::runtime_error&) {
    if (rank == last) {
      mpi_session().barrier();
    }
  }
  RankReports after(mpi_session(), 1);
  after.finish(std::array{3.0});
  receive_until_all_have_finished(after);
  if (rank == 0) {
    EXPECT_EQ(after.sum(), std::vector{3.0 * mpi_session().size()});
  }
}

}  // namespace
}  // namespace maskedkd
