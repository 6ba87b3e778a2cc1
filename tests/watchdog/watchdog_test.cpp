// Tests with real threads, sockets and ranks that stop answering. The ranks use MPI only while the watchdog finds
// nothing, or after it has found the expected hang.
#include "maskedkd/watchdog/watchdog.hpp"

#include "maskedkd/base/error.hpp"
#include "maskedkd/comm/communicator.hpp"
#include "maskedkd/comm/mpi_session.hpp"
#include "support/error_of.hpp"
#include "support/mpi_test.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <future>
#include <thread>

namespace maskedkd {
namespace {

using testing::mpi_session;

constexpr double kTimeout_s = 2;

void sleep_s(double seconds) { std::this_thread::sleep_for(std::chrono::duration<double>(seconds)); }

struct Found {
  std::promise<std::string> promise;
  std::future<std::string> description = promise.get_future();
  WatchdogOptions options() {
    return {kTimeout_s, [this](const std::string& text) { promise.set_value(text); }};
  }
  bool within(double seconds) {
    return description.wait_for(std::chrono::duration<double>(seconds)) == std::future_status::ready;
  }
};

// Every rank hangs in turn; the others seem to wait for it in an exchange.
TEST(Watchdog, EveryRankNamesTheHangingOneWithinTheTimeout) {
  const MpiSession& session = mpi_session();
  for (int hung = 0; hung < session.size(); ++hung) {
    Found found;
    session.activity().report("step 16: forward");
    session.barrier();
    Watchdog watchdog(session, found.options());
    if (session.rank() == hung) {
      session.activity().report("step 17: waiting for data");
      ASSERT_TRUE(found.within(kTimeout_s + 5)) << "rank " << hung;
    } else {
      const Activity::Waiting waiting(session.activity(), "exchange");
      ASSERT_TRUE(found.within(kTimeout_s + 5)) << "rank " << hung;
    }
    const std::string description = found.description.get();
    if (session.rank() == 0) {
      EXPECT_EQ(description.find("rank " + std::to_string(hung) + " on host "), 0) << description;
      EXPECT_NE(description.find(" s: step 17: waiting for data"), std::string::npos) << description;
      EXPECT_EQ(description.find("rank", 1), std::string::npos) << description;
    } else {
      EXPECT_EQ(description, "");
    }
    watchdog.stop();
    session.barrier();
  }
}

TEST(Watchdog, FindsNothingIfAllBeatOrWaitForOneThatDoes) {
  const MpiSession& session = mpi_session();
  Found found;
  Watchdog watchdog(session, found.options());
  if (session.rank() == session.size() - 1) {
    for (int beat = 0; beat < 4; ++beat) {
      session.activity().report("step 17: waiting for data");
      sleep_s(0.6 * kTimeout_s);
    }
  }
  session.barrier();
  EXPECT_FALSE(found.within(0));
}

TEST(Watchdog, ARankThatStartsLateOrLeavesEarlyIsNoHang) {
  const MpiSession& session = mpi_session();
  for (const int first : {0, session.size() - 1}) {
    Found found;
    {
      Watchdog watchdog(session, found.options());
      session.activity().report("step 17: forward");
      if (session.rank() == first) {
        watchdog.stop();
        sleep_s(1.5 * kTimeout_s);
      } else {
        for (int beat = 0; beat < 6; ++beat) {
          session.activity().beat();
          sleep_s(0.25 * kTimeout_s);
        }
      }
    }
    EXPECT_FALSE(found.within(0)) << "rank " << first << " left first";
    session.barrier();
  }
}

TEST(Watchdog, StartsAndEndsWithoutDelay) {
  const auto began = std::chrono::steady_clock::now();
  for (int round = 0; round < 20; ++round) {
    Watchdog watchdog(mpi_session(), {kTimeout_s, {}});
  }
  EXPECT_LT(std::chrono::steady_clock::now() - began, std::chrono::seconds(20));
}

class BrokenCommunicator : public Communicator {
 public:
  explicit BrokenCommunicator(bool broken) : broken_(broken) {}
  int rank() const noexcept override { return mpi_session().rank(); }
  int size() const noexcept override { return mpi_session().size(); }
  void all_reduce_sum(at::Tensor& /*tensor*/) override {}
  void exchange(const at::Tensor& /*send*/, at::Tensor& /*receive*/, int /*peer*/) override {}
  void broadcast(at::Tensor& /*tensor*/, int /*root*/) override {}
  const Activity& activity() const noexcept override { return mpi_session().activity(); }
  std::string async_error() override { return broken_ ? "NCCL: a cable was pulled" : ""; }

 private:
  bool broken_;
};

TEST(Watchdog, AnErrorOfACommunicatorEndsAllAndNamesItsRank) {
  const MpiSession& session = mpi_session();
  const int broken = session.size() - 1;
  Found found;
  BrokenCommunicator communicator(session.rank() == broken);
  Watchdog watchdog(session, found.options());
  const Watchdog::Watched watched = watchdog.watch(communicator);
  ASSERT_TRUE(found.within(10));
  const std::string description = found.description.get();
  if (session.rank() == 0) {
    EXPECT_EQ(description.find("rank " + std::to_string(broken) + " on host "), 0) << description;
    EXPECT_NE(description.find(": NCCL: a cable was pulled"), std::string::npos) << description;
  }
  watchdog.stop();
  session.barrier();
}

TEST(Watchdog, TakesAutoOrSeconds) {
  EXPECT_EQ(WatchdogOptions::parse_timeout("auto"), std::nullopt);
  EXPECT_EQ(WatchdogOptions::parse_timeout("90"), 90.0);
  EXPECT_EQ(WatchdogOptions::parse_timeout("2.5"), 2.5);
  for (const char* wrong : {"", "soon", "-1", "1e3", "nan"}) {
    EXPECT_NE(testing::error_of([&] { WatchdogOptions::parse_timeout(wrong); }).find(wrong), std::string::npos);
  }
  EXPECT_NE(testing::error_of([] { WatchdogOptions{0.5, {}}.validate(); }).find("0.5"), std::string::npos);
}

}  // namespace
}  // namespace maskedkd
