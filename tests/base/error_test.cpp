// The error type, and the log lines of ranks.
#include "maskedkd/base/error.hpp"

#include "maskedkd/base/log.hpp"

#include <gtest/gtest.h>

#include <string>

namespace maskedkd {
namespace {

TEST(Error, CarriesMessageHintCodeAndPlace) {
  const int line = __LINE__ + 2;
  try {
    throw Error("shard 3 is truncated", "pack again", ExitCode::no_requeue);
  } catch (const std::runtime_error& caught) {
    const auto& error = dynamic_cast<const Error&>(caught);
    EXPECT_STREQ(error.what(), "shard 3 is truncated");
    EXPECT_EQ(error.hint(), "pack again");
    EXPECT_EQ(error.code(), ExitCode::no_requeue);
    EXPECT_EQ(error.where().line(), static_cast<unsigned>(line));
    EXPECT_NE(std::string(error.where().file_name()).find("error_test.cpp"), std::string::npos);
  }
}

TEST(Error, UsageErrorNamesItsCallerAndHasExitCodeTwo) {
  const Error error = usage_error("no such model", "deit_tiny");
  EXPECT_EQ(error.where().line(), static_cast<unsigned>(__LINE__ - 1));
  EXPECT_EQ(static_cast<int>(error.code()), 2);
  EXPECT_EQ(error.hint(), "deit_tiny");
  EXPECT_EQ(static_cast<int>(Error("plain").code()), 1);
  EXPECT_TRUE(Error("plain").hint().empty());
}

TEST(Error, ExitCodesAreThoseThatJobScriptsExpect) {
  EXPECT_EQ(static_cast<int>(ExitCode::finished), 0);
  EXPECT_EQ(static_cast<int>(ExitCode::requeue), 85);
  EXPECT_EQ(static_cast<int>(ExitCode::no_requeue), 93);
}

std::string log_of(int rank, int world_size) {
  ::testing::internal::CaptureStderr();
  ::testing::internal::CaptureStdout();
  set_up_log(rank, world_size);
  spdlog::info("all is well");
  spdlog::warn("one shard is slow");
  spdlog::error("one shard is gone");
  EXPECT_EQ(::testing::internal::GetCapturedStdout(), "");  // standard output is reserved for results
  return ::testing::internal::GetCapturedStderr();
}

TEST(Log, RankZeroLogsEverythingOtherRanksOnlyProblems) {
  const std::string first = log_of(0, 4);
  EXPECT_NE(first.find("[rank 0] all is well\n"), std::string::npos) << first;
  const std::string third = log_of(3, 4);
  EXPECT_EQ(third.find("all is well"), std::string::npos) << third;
  EXPECT_NE(third.find("warning [rank 3] one shard is slow\n"), std::string::npos) << third;
  EXPECT_NE(third.find("error [rank 3] one shard is gone\n"), std::string::npos) << third;
  const std::string alone = log_of(0, 1);
  EXPECT_EQ(alone.find("rank"), std::string::npos) << alone;
}

}  // namespace
}  // namespace maskedkd
