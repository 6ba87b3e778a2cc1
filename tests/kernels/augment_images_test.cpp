// Compares the GPU kernel, compiled for the CPU, with apply_training_plan(), which other tests compare with PIL. The
// bits must be equal, with one lane and with several that have to wait for one another.
#include "maskedkd/kernels/augment_images.hpp"
#include "kernels/augment_host.hpp"
#include "maskedkd/base/error.hpp"
#include "random_crops.hpp"

#include <gtest/gtest.h>

#include <cstdlib>

namespace maskedkd::testing {
namespace {

using Exactly = std::pair<int, std::size_t>;

int num_plans() {
  const char* given = std::getenv("MASKEDKD_AUGMENT_PLANS");
  return given == nullptr ? 1000 : std::atoi(given);
}

TEST(AugmentImages, RandomPlansGiveTheBitsOfTheCpusOwnCode) {
  constexpr int kBatch = 20;
  std::mt19937_64 random(3);
  for (int done = 0, size_index = 0; done < num_plans(); done += kBatch, ++size_index) {
    const int size = std::array{1, 2, 3, 7, 24, 32, 57}[static_cast<std::size_t>(size_index) % 7];
    const CropsAndImages given = random_crops(random, kBatch, size);
    ASSERT_EQ(distance(augmented_images(given.crops, at::kCPU), given.images), Exactly(0, 0)) << size << ", " << done;
  }
}

TEST(AugmentImages, EveryOperationAloneGivesTheBitsOfTheCpusOwnCode) {
  std::mt19937_64 random(4);
  for (int kind = 0; kind < kNumOperationKinds; ++kind) {
    for (const int size : {1, 2, 5, 40}) {
      std::vector<TrainingPlan> plans(12);
      for (TrainingPlan& plan : plans) {
        plan.crop = {0, 0, 1 + static_cast<int>(random() % 50), 1 + static_cast<int>(random() % 50)};
        plan.flip = random() % 2 == 0;
        plan.operations = {random_operation(random, static_cast<OperationKind>(kind))};
      }
      const CropsAndImages given = crops_of(random, size, plans);
      ASSERT_EQ(distance(augmented_images(given.crops, at::kCPU), given.images), Exactly(0, 0))
          << to_string(static_cast<OperationKind>(kind)) << ", " << size;
    }
  }
}

TEST(AugmentImages, LargestCropsAndCropsOfTheOutputSizeGiveTheBitsOfTheCpusOwnCode) {
  std::mt19937_64 random(5);
  std::vector<TrainingPlan> plans;
  for (const auto& [height, width] : {std::pair(224, 224), {224, 100}, {517, 387}, {1, 1}, {1, 900}, {900, 1}}) {
    for (const bool flip : {false, true}) {
      plans.push_back({{0, 0, height, width}, flip});
      plans.back().interpolation = flip ? Interpolation::bilinear : Interpolation::bicubic;
    }
  }
  const CropsAndImages given = crops_of(random, 224, plans);
  EXPECT_EQ(distance(augmented_images(given.crops, at::kCPU), given.images), Exactly(0, 0));
}

// A missing wait() would show here, rarely in a single comparison, but there are many.
TEST(AugmentImages, LanesThatWorkTogetherGiveTheBitsOfOne) {
  std::mt19937_64 random(6);
  for (const int num_lanes : {2, 3, 5}) {
    for (const int size : {4, 17}) {
      const CropsAndImages given = random_crops(random, 25, size);
      EXPECT_EQ(distance(kernel::augmented_by_lanes(given.crops, num_lanes), given.images), Exactly(0, 0))
          << num_lanes << " lanes";
    }
  }
}

TEST(AugmentImages, NoCropsGiveNoImages) {
  const RawCrops none{8, {}, {}, {}};
  EXPECT_EQ(augmented_images(none, at::kCPU).sizes(), (std::vector<std::int64_t>{0, 8, 8, 3}));
}

TEST(AugmentImages, CropsOutsideOfTheirMemoryAreRefused) {
  std::mt19937_64 random(7);
  const RawCrops good = random_crops(random, 3, 8).crops;
  const auto expect_refused = [&](const auto& spoil) {
    RawCrops crops = good;
    spoil(crops);
    EXPECT_THROW(augmented_images(crops, at::kCPU), Error);
  };
  EXPECT_NO_THROW(augmented_images(good, at::kCPU));
  expect_refused([](RawCrops& crops) { crops.plans[1].crop.width = 0; });
  expect_refused([](RawCrops& crops) { crops.plans[1].crop.height = 1 << 20; });
  expect_refused([](RawCrops& crops) { crops.places[1].offset = crops.pieces[crops.places[1].piece].numel() - 2; });
  expect_refused([](RawCrops& crops) { crops.places[1].offset = -1; });
  expect_refused([](RawCrops& crops) { crops.places[1].piece = crops.pieces.size(); });
}

}  // namespace
}  // namespace maskedkd::testing
