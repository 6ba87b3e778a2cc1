#include "preprocess/worker_threads.hpp"
#include "maskedkd/base/error.hpp"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <fstream>
#include <set>

namespace maskedkd::testing {
namespace {

constexpr std::chrono::milliseconds kLong(60000);

TEST(WorkerThreads, DoEachPieceOnce) {
  for (const int num_threads : {1, 2, 7}) {
    std::atomic<int> next = 0;
    std::mutex mutex;
    std::multiset<int> done;
    WorkerThreads threads(num_threads, [&](const std::atomic<bool>&) {
      const int piece = next++;
      if (piece >= 100) {
        return false;
      }
      const std::lock_guard lock(mutex);
      done.insert(piece);
      return true;
    });
    EXPECT_TRUE(threads.wait(kLong));
    EXPECT_EQ(done.size(), 100u);
    EXPECT_EQ(std::set<int>(done.begin(), done.end()).size(), 100u);
  }
}

TEST(WorkerThreads, AnErrorOfOneStopsTheOthersAndIsThrown) {
  std::atomic<int> calls = 0;
  WorkerThreads threads(3, [&](const std::atomic<bool>&) -> bool {
    if (++calls == 50) {
      throw Error("piece 50");
    }
    return true;
  });
  try {
    while (!threads.wait(kLong)) {
    }
    FAIL() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "piece 50");
  }
}

TEST(WorkerThreads, EndWithTheObjectIfAnotherErrorIsThrown) {
  std::atomic<int> running = 0;
  try {
    const WorkerThreads threads(2, [&](const std::atomic<bool>& stop) {
      ++running;
      while (!stop) {
        std::this_thread::yield();
      }
      --running;
      return true;
    });
    throw Error("elsewhere");
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "elsewhere");
  }
  EXPECT_EQ(running, 0);
}

// The limit on addresses leaves no space for their stacks. A limit on threads would not apply to root.
TEST(WorkerThreads, FailureToStartIsAnErrorThatNamesTheOption) {
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_AS, &before), 0);
  std::uint64_t pages = 0;
  ASSERT_TRUE(std::ifstream("/proc/self/statm") >> pages);
  rlimit small = before;
  small.rlim_cur = pages * static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE)) + (std::uint64_t{200} << 20);
  ASSERT_EQ(setrlimit(RLIMIT_AS, &small), 0);
  std::string message, hint;
  try {
    WorkerThreads threads(1000, [](const std::atomic<bool>& stop) { return !stop; });
  } catch (const Error& error) {
    message = error.what();
    hint = error.hint();
  }
  ASSERT_EQ(setrlimit(RLIMIT_AS, &before), 0);
  EXPECT_NE(message.find("of 1000 threads only "), std::string::npos) << message;
  EXPECT_NE(hint.find("--threads"), std::string::npos) << hint;
}

}  // namespace
}  // namespace maskedkd::testing
