// Compares the kernel on a GPU with apply_training_plan() on the CPU.
#include "maskedkd/kernels/augment_images.hpp"
#include "random_crops.hpp"

#include <ATen/ops/equal.h>
#include <c10/cuda/CUDAFunctions.h>
#include <gtest/gtest.h>

namespace maskedkd::testing {
namespace {

class AugmentOnGpu : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!can_augment_on_gpu()) {
      GTEST_SKIP() << "built without nvcc";
    }
    if (c10::cuda::device_count() == 0) {
      GTEST_SKIP() << "there is no GPU";
    }
  }
  const at::Device gpu_ = at::Device(at::kCUDA, 0);
};

TEST_F(AugmentOnGpu, RandomPlansAreTheCpusWithinOneLevel) {
  std::mt19937_64 random(8);
  std::size_t num_different = 0;
  for (const int size : {1, 2, 7, 32, 57, 224}) {
    for (int round = 0; round < 4; ++round) {
      const CropsAndImages given = random_crops(random, 64, size);
      const auto [largest, different] = distance(augmented_images(given.crops, gpu_).cpu(), given.images);
      EXPECT_LE(largest, 1) << size;
      num_different += different;
    }
  }
  RecordProperty("levels_that_differ", std::to_string(num_different));
}

TEST_F(AugmentOnGpu, EveryOperationIsTheCpusWithinOneLevel) {
  std::mt19937_64 random(9);
  for (int kind = 0; kind < kNumOperationKinds; ++kind) {
    std::vector<TrainingPlan> plans(16);
    for (TrainingPlan& plan : plans) {
      plan.crop = {0, 0, 1 + static_cast<int>(random() % 300), 1 + static_cast<int>(random() % 300)};
      plan.operations = {random_operation(random, static_cast<OperationKind>(kind))};
    }
    const CropsAndImages given = crops_of(random, 96, plans);
    EXPECT_LE(distance(augmented_images(given.crops, gpu_).cpu(), given.images).first, 1)
        << to_string(static_cast<OperationKind>(kind));
  }
}

TEST_F(AugmentOnGpu, TheSamePlansGiveTheSameBitsEveryTime) {
  std::mt19937_64 random(10);
  CropsAndImages given = random_crops(random, 128, 224);
  const at::Tensor first = augmented_images(given.crops, gpu_);
  for (at::Tensor& piece : given.crops.pieces) {
    piece = piece.pin_memory();
  }
  for (int round = 0; round < 5; ++round) {
    EXPECT_TRUE(at::equal(augmented_images(given.crops, gpu_), first));
  }
}

}  // namespace
}  // namespace maskedkd::testing
