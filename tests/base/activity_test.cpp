#include "maskedkd/base/activity.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <set>
#include <thread>

namespace maskedkd {
namespace {

TEST(Activity, ReportsTheNewestText) {
  const Activity activity;
  EXPECT_EQ(activity.read().beats, 0);
  activity.report("step 17: waiting for data");
  const Activity::State state = activity.read();
  EXPECT_EQ(state.text, "step 17: waiting for data");
  EXPECT_EQ(state.beats, 1);
  EXPECT_EQ(state.pace, Activity::Pace::usual);
  EXPECT_EQ(state.waits_in, nullptr);
  activity.report(std::string(1000, 'x'), Activity::Pace::slow);
  EXPECT_EQ(activity.read().text, std::string(Activity::kMaxTextBytes, 'x'));
  EXPECT_EQ(activity.read().pace, Activity::Pace::slow);
}

TEST(Activity, NestedCollectivesReportTheInnerOneWhileItLasts) {
  const Activity activity;
  {
    const Activity::Waiting outer(activity, "all_gather");
    {
      const Activity::Waiting inner(activity, "broadcast");
      EXPECT_STREQ(activity.read().waits_in, "broadcast");
    }
    EXPECT_STREQ(activity.read().waits_in, "all_gather");
  }
  activity.skip_collectives(3);
  EXPECT_EQ(activity.read().waits_in, nullptr);
  EXPECT_EQ(activity.read().collectives, 5);
  EXPECT_EQ(activity.read().beats, 4);
}

TEST(Activity, ReadersNeverSeeAPartlyWrittenText) {
  const Activity activity;
  const std::set<std::string> texts = {"", std::string(90, 'a'), std::string(40, 'b'), std::string(70, 'c')};
  std::atomic<bool> done{false};
  std::thread reader([&] {
    int read = 0;
    for (; !done || read == 0; ++read) {
      const std::string text = activity.read().text;
      ASSERT_TRUE(texts.contains(text)) << text;
    }
  });
  for (int round = 0; round < 200'000; ++round) {
    for (const std::string& text : texts) {
      activity.report(text);
    }
  }
  done = true;
  reader.join();
}

}  // namespace
}  // namespace maskedkd
