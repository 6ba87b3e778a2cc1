#include "maskedkd/train/schedule.hpp"
#include "maskedkd/base/error.hpp"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <cmath>
#include <cstdio>
#include <fstream>

namespace maskedkd {
namespace {

TEST(Schedule, GivesThe300PublishedRates) {
  std::ifstream file(std::string(MASKEDKD_SOURCE_DIR) + "/tests/train/published_rates.json");
  const auto rates = nlohmann::json::parse(file).at("train_lr");
  ASSERT_EQ(rates.size(), 300U);
  const ScheduleOptions options;  // the official recipe
  double worst = 0;
  for (std::int64_t epoch = 0; epoch < 300; ++epoch) {
    for (const std::int64_t step : {0, 700, 1250}) {  // constant within an epoch
      const double wanted = rates[static_cast<std::size_t>(epoch)].get<double>();
      worst = std::max(worst, std::abs(learning_rate_at(options, 1024, epoch, step, 1251) - wanted) / wanted);
    }
  }
  std::printf("largest relative difference from the published rates: %.1e\n", worst);
  EXPECT_LT(worst, 1e-12);
}

TEST(Schedule, PerStepPassesThroughTheOfficialPointsWithoutTheirLag) {
  ScheduleOptions by_epoch, by_step;
  by_step.per_step = true;
  for (std::int64_t epoch = 0; epoch < 299; ++epoch) {
    EXPECT_EQ(learning_rate_at(by_step, 512, epoch, 0, 100), learning_rate_at(by_epoch, 512, epoch + 1, 0, 100));
  }
  // After half of a warm-up of five epochs the rate is half way up.
  EXPECT_DOUBLE_EQ(learning_rate_at(by_step, 512, 2, 50, 100), (1e-6 + 5e-4) / 2);
}

TEST(Schedule, ScalesWithTheGlobalBatchExceptTheSmallestRate) {
  ScheduleOptions options;
  options.warmup_epochs = 0;
  EXPECT_DOUBLE_EQ(learning_rate_at(options, 2048, 0, 0, 10), 4 * 5e-4);
  options.per_step = true;
  EXPECT_NEAR(learning_rate_at(options, 2048, 299, 999999, 1000000), options.min_rate, 1e-12);
}

TEST(Schedule, RefusesInvalidOptions) {
  const auto refuses = [](auto change) {
    ScheduleOptions options;
    change(options);
    EXPECT_THROW(options.validate(), Error);
  };
  refuses([](auto& options) { options.learning_rate = 0; });
  refuses([](auto& options) { options.learning_rate = NAN; });
  refuses([](auto& options) { options.warmup_epochs = NAN; });
  refuses([](auto& options) { options.min_rate = -1; });
  refuses([](auto& options) { options.epochs = 0; });
  EXPECT_NO_THROW(ScheduleOptions().validate());
}

}  // namespace
}  // namespace maskedkd
