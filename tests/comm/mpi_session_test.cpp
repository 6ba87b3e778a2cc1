#include "maskedkd/comm/mpi_session.hpp"

#include "comm/mpi_check.hpp"
#include "support/mpi_test.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numeric>

namespace maskedkd {
namespace {

using testing::mpi_session;

TEST(MpiSession, HasTheRanksOfMpi) {
  const MpiSession& session = mpi_session();
  const std::vector<double> ranks = session.all_gather(std::vector<double>{static_cast<double>(session.rank())});
  std::vector<double> counted(static_cast<std::size_t>(session.size()));
  std::iota(counted.begin(), counted.end(), 0.0);
  EXPECT_EQ(ranks, counted);
  EXPECT_EQ(session.local_size(), session.size());  // the tests run on one node
  EXPECT_EQ(session.local_rank(), session.rank());
}

TEST(MpiSession, GathersDoublesRankByRankAndBitForBit) {
  const MpiSession& session = mpi_session();
  const auto of_rank = [](int rank) {
    return std::vector<double>{rank + 0.1, -0.0, std::numeric_limits<double>::infinity(), 1e-310 * rank, 0x1p60 + rank};
  };
  const std::vector<double> all = session.all_gather(of_rank(session.rank()));
  ASSERT_EQ(all.size(), static_cast<std::size_t>(5 * session.size()));
  for (int rank = 0; rank < session.size(); ++rank) {
    const std::vector<double> expected = of_rank(rank);
    EXPECT_TRUE(std::equal(expected.begin(), expected.end(), all.begin() + 5 * rank)) << rank;
    EXPECT_TRUE(std::signbit(all[static_cast<std::size_t>(5 * rank + 1)]));
  }
  EXPECT_TRUE(session.all_gather(std::vector<double>{}).empty());
  EXPECT_TRUE(std::isnan(session.all_gather(std::vector<double>{std::nan("")}).back()));
}

TEST(MpiSession, GathersTextOfAnyLength) {
  const MpiSession& session = mpi_session();
  // Rank 0 sends nothing, rank 1 a line with a zero byte, the others longer and longer texts.
  const auto of_rank = [](int rank) {
    return rank == 0   ? std::string()
           : rank == 1 ? std::string("a\0b\n\xff", 5)
                       : std::string(static_cast<std::size_t>(rank) * 300'007, static_cast<char>('a' + rank));
  };
  const std::vector<std::string> all = session.all_gather(of_rank(session.rank()));
  ASSERT_EQ(all.size(), static_cast<std::size_t>(session.size()));
  for (int rank = 0; rank < session.size(); ++rank) {
    EXPECT_TRUE(all[static_cast<std::size_t>(rank)] == of_rank(rank)) << rank;
  }
}

TEST(MpiSession, BroadcastsTextOfEveryRoot) {
  const MpiSession& session = mpi_session();
  for (int root = 0; root < session.size(); ++root) {
    for (const std::size_t length : {std::size_t{0}, std::size_t{1}, std::size_t{5'000'001}}) {
      const std::string text(length, static_cast<char>('A' + root));
      const std::string mine = session.rank() == root ? text : "what others pass does not count";
      EXPECT_TRUE(session.broadcast(mine, root) == text) << root << ' ' << length;
    }
  }
}

TEST(MpiSession, NoRankLeavesABarrierBeforeAllEntered) {
  const MpiSession& session = mpi_session();
  for (int slow = 0; slow < session.size(); ++slow) {
    session.barrier();
    const double before = MPI_Wtime();
    if (session.rank() == slow) {
      while (MPI_Wtime() - before < 0.2) {
      }
    }
    session.barrier();
    EXPECT_GE(MPI_Wtime() - before, 0.1);  // the other ranks may enter late themselves
  }
}

TEST(ForEachChunk, CoversALengthOnceAndInOrder) {
  for (const std::int64_t length : {0, 1, 9, 10, 11, 35}) {
    std::int64_t covered = 0;
    for_each_chunk(
        length,
        [&](std::int64_t offset, int count) {
          EXPECT_EQ(offset, covered);
          EXPECT_GT(count, 0);
          EXPECT_LE(count, 10);
          covered += count;
        },
        10);
    EXPECT_EQ(covered, length);
  }
  // Longer than MPI's int can count.
  const std::int64_t five_billion = 5'000'000'000;
  std::int64_t covered = 0;
  for_each_chunk(five_billion, [&](std::int64_t, int count) { covered += count; });
  EXPECT_EQ(covered, five_billion);
}

TEST(CheckMpi, ThrowsMpisMessage) {
  EXPECT_NO_THROW(check_mpi(MPI_SUCCESS, "MPI_Barrier"));
  try {
    check_mpi(MPI_ERR_RANK, "MPI_Send");
    FAIL() << "nothing thrown";
  } catch (const Error& error) {
    const std::string message = error.what();
    EXPECT_NE(message.find("MPI_Send failed: "), std::string::npos) << message;
    EXPECT_NE(message.find("rank"), std::string::npos) << message;
    EXPECT_EQ(error.code(), ExitCode::failure);
  }
  // Errors that are not this program's mistake, such as a lost connection: the job is requeued.
  for (const int code : {MPI_ERR_OTHER, MPI_ERR_INTERN, MPI_ERR_UNKNOWN}) {
    try {
      check_mpi(code, "MPI_Allreduce");
      FAIL() << "nothing thrown";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::requeue) << error.what();
    }
  }
}

}  // namespace
}  // namespace maskedkd
