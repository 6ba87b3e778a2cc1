#include "maskedkd/augment/erasing.hpp"
#include "codecs/reference.hpp"
#include "maskedkd/augment/augment.hpp"
#include "maskedkd/base/error.hpp"
#include "statistics.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <numbers>

namespace maskedkd::testing {
namespace {

RandomAddress address_of(std::uint32_t position) { return {3, RandomPurpose::erasing_noise, 4, 5, 6, position}; }

double normal_below(double x) { return 0.5 * std::erfc(-x / std::numbers::sqrt2); }

// Checks every value of the table with the distribution function, an independent computation.
TEST(Erasing, TheTableHasQuantilesOfANormal) {
  const std::vector<std::uint32_t>& bits = erasing_quantiles();
  ASSERT_EQ(bits.size(), std::size_t{kNumErasingQuantiles});
  for (std::size_t i = 0; i < bits.size(); ++i) {
    ASSERT_NEAR(normal_below(std::bit_cast<float>(bits[i])) * 65536, static_cast<double>(i) + 32768.5, 0.005) << i;
  }
}

TEST(Erasing, APlanHasItsBoxAndTheStreamOfItsAddress) {
  const PixelBox box{3, 4, 5, 6};
  for (const std::uint32_t number : {0, 1, 63}) {
    const PlannedErasure plan = plan_erasure(box, ErasingMode::rand, address_of(7), number);
    EXPECT_EQ((PixelBox{plan.top, plan.left, plan.height, plan.width}), box);
    EXPECT_EQ(plan.mode, ErasingMode::rand);
    const PhiloxKey key = philox_key(address_of(7));
    const PhiloxCounter counter = philox_counter(address_of(7));
    EXPECT_TRUE(std::equal(key.begin(), key.end(), plan.key));
    EXPECT_EQ(plan.counter[0], number << 20);  // 8 million values for each box
    EXPECT_TRUE(std::equal(counter.begin() + 1, counter.end(), plan.counter + 1));
  }
}

TEST(Erasing, UpToTheCountOfBoxesShareTheArea) {
  AugmentOptions options;
  options.erasing_probability = 1;
  options.erasing_count = 3;
  std::array<int, 4> counts{};
  double area = 0;
  constexpr int kDraws = 20000;
  for (std::uint32_t i = 0; i < kDraws; ++i) {
    PhiloxStream random(address_of(i));
    const auto boxes = draw_training_plan(random, 300, 300, options).erase;
    ASSERT_LE(boxes.size(), 3U);
    ++counts[boxes.size()];
    for (const PixelBox& box : boxes) {
      area += double{1} * box.height * box.width / (224.0 * 224.0) / kDraws;
    }
  }
  for (int count = 1; count <= 3; ++count) {
    EXPECT_NEAR(counts[static_cast<std::size_t>(count)], kDraws / 3.0, 4.5 * std::sqrt(kDraws * 2 / 9.0));
  }
  EXPECT_NEAR(area, (0.02 + 1.0 / 3) / 2, 0.005);  // for every count, as few boxes are rejected as too long
}

TEST(Erasing, ModesHaveTimmsNames) {
  for (const char* name : {"pixel", "rand", "const"}) {
    EXPECT_EQ(to_string(parse_erasing_mode(name)), name);
  }
  EXPECT_THROW(parse_erasing_mode("noise"), Error);
}

}  // namespace
}  // namespace maskedkd::testing
