// What is observed of a main thread: beats, the time without one, whether it runs meanwhile, what it waits in.
#include "watchdog/main_thread_observer.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>

namespace maskedkd {
namespace {

TEST(MainThreadObserver, ABeatEndsAStallAndTheLongestIsKept) {
  const Activity activity;
  activity.report("step 1", Activity::Pace::usual);
  MainThreadObserver observer(activity, "node7");
  observer.look(0);
  EXPECT_EQ(observer.state().host, "node7");
  EXPECT_EQ(observer.state().doing, "step 1");
  observer.look(2);
  observer.look(3);
  EXPECT_EQ(observer.state().stalled_s, 5);
  activity.beat();
  observer.look(1);
  EXPECT_EQ(observer.state().stalled_s, 0);
  EXPECT_EQ(observer.state().longest_s, 6);
  observer.look(2);
  EXPECT_EQ(observer.state().stalled_s, 2);
  EXPECT_EQ(observer.state().longest_s, 6);
}

TEST(MainThreadObserver, SlowActivitiesDoNotChangeTheLongestStall) {
  const Activity activity;
  activity.report("reading a checkpoint", Activity::Pace::slow);
  MainThreadObserver observer(activity, "");
  observer.look(0);
  observer.look(500);
  activity.report("step 1");
  observer.look(1);
  EXPECT_EQ(observer.state().longest_s, 0);
  EXPECT_EQ(observer.state().pace, Activity::Pace::usual);
}

// The observed thread is the one that created the observer.
TEST(MainThreadObserver, DistinguishesARunningThreadFromASleepingOne) {
  const Activity activity;
  MainThreadObserver observer(activity, "");
  const auto share_awake = [&](auto work) {
    activity.report("anew");
    std::atomic<bool> stop{false};
    std::thread watching([&] {
      for (int i = 0; i < 20; ++i) {
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
        observer.look(0.01);
      }
      stop = true;
    });
    while (!stop) {
      work();
    }
    watching.join();
    return observer.state().awake;
  };
  volatile double sink = 0;
  EXPECT_GT(share_awake([&] { sink = sink + 1; }), 0.8);
  EXPECT_LT(share_awake([] { std::this_thread::sleep_for(std::chrono::milliseconds(50)); }), 0.2);
}

}  // namespace
}  // namespace maskedkd
