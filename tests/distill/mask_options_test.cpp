// Counts and schedules against closed forms worked out by hand, and invalid counts.
#include "maskedkd/distill/mask_options.hpp"

#include "maskedkd/base/error.hpp"

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

namespace maskedkd::testing {
namespace {

// Message and hint of a usage error; "" if there is none.
std::string refusal(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::usage);
    return error.what() + (" (" + error.hint()) + ")";
  }
  return {};
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

std::int64_t count(const std::string& text, std::int64_t num_patches) {
  return KeepCount::parse(text, "keep").of(num_patches, "keep");
}

TEST(KeepCount, SharesAreRoundedHalfUpAndNumbersAreNumbers) {
  EXPECT_EQ(count("0.5", 196), 98);
  EXPECT_EQ(count("0.5", 576), 288);
  EXPECT_EQ(count("0.5", 49), 25);     // 24.5
  EXPECT_EQ(count("0.25", 14), 4);     // 3.5
  EXPECT_EQ(count("0.25", 13), 3);     // 3.25
  EXPECT_EQ(count("0.145", 100), 15);  // 14.5, but not exactly in binary floating point
  EXPECT_EQ(count("0.29", 50), 15);    // 14.5 again
  EXPECT_EQ(count("0.001", 16), 1);
  EXPECT_EQ(count("1.0", 49), 49);
  EXPECT_EQ(count("1", 49), 1);
  EXPECT_EQ(count("98", 196), 98);
  EXPECT_EQ(count("196", 196), 196);
  EXPECT_EQ(KeepCount::patches(98).of(576, "keep"), 98);
  EXPECT_EQ(KeepCount::share(0.5), KeepCount::parse("0.50", "keep"));
}

TEST(KeepCount, IsWrittenInOneWay) {
  for (const char* text : {"98", "1", "0.5", "0.145", "1.0", "1e-05"}) {
    EXPECT_EQ(KeepCount::parse(text, "keep").to_string(), text);
  }
  EXPECT_EQ(KeepCount::parse("0.50", "keep").to_string(), "0.5");
  EXPECT_EQ(KeepCount::parse("1.00", "keep").to_string(), "1.0");
  EXPECT_EQ(KeepCount::parse("098", "keep").to_string(), "98");
}

TEST(KeepCount, RefusesOtherTexts) {
  for (const std::string text : {"", "0", "-1", "0.0", "-0.5", "1.5", "98.0", "nan", "inf", "half", "0.5x", " 1", "1 ",
                                 "50%", "0x10", "99999999999999999999"}) {
    const std::string message = refusal([&] { KeepCount::parse(text, "keep-start"); });
    EXPECT_TRUE(contains(message, "--keep-start") && contains(message, text)) << "'" << text << "': " << message;
    EXPECT_FALSE(contains(message, "\n")) << message;
  }
  EXPECT_TRUE(contains(refusal([] { KeepCount::patches(50).of(49, "keep"); }), "--keep 50 is outside 1..49"));
  EXPECT_THROW(KeepCount::patches(0), Error);
}

std::vector<std::int64_t> kept(const MaskOptions& mask, std::int64_t num_epochs, std::int64_t num_patches) {
  std::vector<std::int64_t> counts;
  for (std::int64_t epoch = 0; epoch < num_epochs; ++epoch) {
    counts.push_back(mask.kept_patches(epoch, num_epochs, num_patches));
  }
  return counts;
}

using Counts = std::vector<std::int64_t>;

TEST(KeepSchedule, ConstantIsHalfOfThePatchesInEveryEpoch) {
  EXPECT_EQ(kept({}, 3, 196), (Counts{98, 98, 98}));
  EXPECT_EQ(kept({}, 1, 49), (Counts{25}));
}

TEST(KeepSchedule, LinearIsAStraightLine) {
  MaskOptions mask;
  mask.schedule = KeepSchedule::linear;
  EXPECT_EQ(kept(mask, 5, 196), (Counts{196, 172, 147, 123, 98}));  // 171.5 and 122.5 in between
  EXPECT_EQ(kept(mask, 2, 196), (Counts{196, 98}));
  EXPECT_EQ(kept(mask, 1, 196), (Counts{98}));
  EXPECT_EQ(kept(mask, 8, 9), (Counts{9, 8, 8, 7, 7, 6, 6, 5}));  // 9 - 4 e / 7
  mask.keep_start = KeepCount::patches(1);                        // rising
  mask.keep = KeepCount::patches(4);
  EXPECT_EQ(kept(mask, 4, 16), (Counts{1, 2, 3, 4}));
  EXPECT_EQ(kept(mask, 7, 16), (Counts{1, 2, 2, 3, 3, 4, 4}));  // halves go up
  mask.keep_start = mask.keep;
  EXPECT_EQ(kept(mask, 3, 16), (Counts{4, 4, 4}));
}

// 147 + 49 cos(pi e / 6) with the cosines 1, sqrt(3) / 2, 1 / 2, 0 and their negatives.
TEST(KeepSchedule, CosineIsHalfAPeriodOfACosine) {
  MaskOptions mask;
  mask.schedule = KeepSchedule::cosine;
  EXPECT_EQ(kept(mask, 7, 196), (Counts{196, 189, 172, 147, 123, 105, 98}));
  EXPECT_EQ(kept(mask, 3, 49), (Counts{49, 37, 25}));
  EXPECT_EQ(kept(mask, 1, 196), (Counts{98}));
  EXPECT_EQ(mask.kept_patches(0, 300, 196), 196);
  EXPECT_EQ(mask.kept_patches(299, 300, 196), 98);
  EXPECT_EQ(mask.kept_patches(10, 300, 196), 196);  // flat at the beginning, where a line would be at 193
}

TEST(MaskOptions, CriterionAllKeepsAllPatches) {
  MaskOptions mask;
  mask.criterion = MaskCriterion::all;
  EXPECT_EQ(kept(mask, 2, 196), (Counts{196, 196}));
}

TEST(MaskOptions, NamesAreReadAndWritten) {
  for (const char* name : {"student", "random", "lowest", "teacher", "all"}) {
    EXPECT_EQ(to_string(parse_mask_criterion(name)), name);
  }
  for (const char* name : {"constant", "linear", "cosine"}) {
    EXPECT_EQ(to_string(parse_keep_schedule(name)), name);
  }
  EXPECT_EQ(MaskOptions{}.criterion, parse_mask_criterion("student"));
  EXPECT_TRUE(contains(refusal([] { parse_mask_criterion("Random"); }), "student, random, lowest, teacher, all"));
  EXPECT_TRUE(contains(refusal([] { parse_keep_schedule(""); }), "constant, linear, cosine"));
}

}  // namespace
}  // namespace maskedkd::testing
