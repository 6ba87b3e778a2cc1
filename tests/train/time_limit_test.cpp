// The end of a job, from Slurm's environment and in sbatch's notation.
#include "maskedkd/train/time_limit.hpp"

#include "support/error_of.hpp"

#include <gtest/gtest.h>

#include <limits>
#include <map>

namespace maskedkd::testing {
namespace {

using Environment = std::map<std::string, std::string>;

TimeLimit limit(const std::string& text, const Environment& environment = {}) {
  return TimeLimit(text, [&](const char* name) {
    const auto found = environment.find(name);
    return found == environment.end() ? std::string() : found->second;
  });
}

std::string in_seconds(double seconds) {
  const std::chrono::duration<double> now = std::chrono::system_clock::now().time_since_epoch();
  return std::to_string(static_cast<std::int64_t>(now.count() + seconds));
}

// The notation of man 1 sbatch, --time.
TEST(TimeLimit, IsReadInSbatchsNotation) {
  const std::map<std::string, double> cases = {{"90", 5400},        {"0:30", 30},         {"90:15", 5415},
                                               {"1:30:00", 5400},   {"2-0", 172800},      {"2-12", 216000},
                                               {"2-12:30", 217800}, {"1-00:00:05", 86405}};
  for (const auto& [text, seconds] : cases) {
    ASSERT_TRUE(limit(text).seconds_left()) << text;
    EXPECT_NEAR(*limit(text).seconds_left(), seconds, 1) << text;
  }
  EXPECT_FALSE(limit("0").seconds_left()) << "no limit";
  for (const char* text : {"", "soon", "1:2:3:4", "-5", "1.5", "2-", "90 ", "99999999999999999999"}) {
    EXPECT_NE(error_of([&] { limit(text); }).find("is not a time"), std::string::npos) << text;
  }
}

TEST(TimeLimit, AutoReadsTheEndOfTheJob) {
  EXPECT_FALSE(limit("none", {{"SLURM_JOB_END_TIME", in_seconds(100)}}).seconds_left());
  EXPECT_FALSE(limit("auto").seconds_left());
  EXPECT_FALSE(limit("auto").has_less_than(1e9));
  EXPECT_NEAR(*limit("auto", {{"SLURM_JOB_END_TIME", in_seconds(100)}}).seconds_left(), 100, 2);
  const TimeLimit given = limit("auto", {{"SLURM_JOB_END_TIME", in_seconds(9)}, {"MASKEDKD_JOB_END", in_seconds(500)}});
  EXPECT_NEAR(*given.seconds_left(), 500, 2);
  EXPECT_TRUE(given.has_less_than(510));
  EXPECT_FALSE(given.has_less_than(490));
  EXPECT_NE(error_of([&] {
              limit("auto", {{"MASKEDKD_JOB_END", "tomorrow"}});
            }).find("MASKEDKD_JOB_END=tomorrow"),
            std::string::npos);
}

// The end of another job, or of a wrong clock, would stop every start at its first step.
TEST(TimeLimit, AnEndInThePastIsReportedAndIgnored) {
  for (const std::string& past : {in_seconds(-5), std::string("0"), std::string("1000")}) {
    for (const char* name : {"MASKEDKD_JOB_END", "SLURM_JOB_END_TIME"}) {
      const TimeLimit given = limit("auto", {{name, past}});
      EXPECT_FALSE(given.seconds_left()) << past;
      EXPECT_NE(given.past_end_warning().find(name + ("=" + past)), std::string::npos) << given.past_end_warning();
    }
    const TimeLimit given = limit("auto", {{"MASKEDKD_JOB_END", past}, {"SLURM_JOB_END_TIME", in_seconds(70)}});
    ASSERT_TRUE(given.seconds_left()) << "the other one is this job's";
    EXPECT_NEAR(*given.seconds_left(), 70, 2);
    EXPECT_NE(given.past_end_warning(), "");
  }
  EXPECT_EQ(limit("auto", {{"MASKEDKD_JOB_END", in_seconds(50)}}).past_end_warning(), "");
}

// Values in milliseconds, for example, exceed the nanoseconds that 64 bits can hold.
TEST(TimeLimit, ManyYearsAreNotInThePast) {
  EXPECT_FALSE(limit("auto", {{"MASKEDKD_JOB_END", "999999999999"}}).has_less_than(1e9));
  EXPECT_FALSE(limit("999999999").has_less_than(1e9)) << "minutes";
  EXPECT_FALSE(limit("99999-0").has_less_than(1e9)) << "days";
}

TEST(TimeLimit, MovesWithTheJobsEnd) {
  TimeLimit given = limit("auto", {{"MASKEDKD_JOB_END", in_seconds(100)}});
  EXPECT_TRUE(given.is_end_of_job());
  given.end_at(std::stod(in_seconds(500)));
  EXPECT_NEAR(*given.seconds_left(), 500, 2);
  given.end_at(std::stod(in_seconds(-500)));
  EXPECT_NEAR(*given.seconds_left(), 500, 2) << "past";
  given.end_at(std::numeric_limits<double>::infinity());
  EXPECT_FALSE(given.seconds_left()) << "no limit any more";
  EXPECT_FALSE(limit("1:00:00").is_end_of_job());
}

}  // namespace
}  // namespace maskedkd::testing
