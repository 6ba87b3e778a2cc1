// Compares the kernel that prepares a batch on a GPU with the same on the CPU. The bits must be equal.
#include "maskedkd/kernels/augment_images.hpp"
#include "maskedkd/kernels/prepare_batch.hpp"
#include "random_preparation.hpp"

#include <ATen/ops/empty_like.h>
#include <ATen/ops/equal.h>
#include <c10/cuda/CUDAFunctions.h>
#include <gtest/gtest.h>

namespace maskedkd::testing {
namespace {

class PrepareOnGpu : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!can_augment_on_gpu()) {
      GTEST_SKIP() << "built without nvcc";
    }
    if (c10::cuda::device_count() == 0) {
      GTEST_SKIP() << "there is no GPU";
    }
  }

  BatchInputs moved(const BatchInputs& inputs) const {
    const auto to = [&](const at::Tensor& tensor) { return tensor.defined() ? tensor.to(gpu_) : tensor; };
    return {to(inputs.pixels),    to(inputs.erasures), to(inputs.image_shares),
            to(inputs.cut_boxes), to(inputs.labels),   to(inputs.target_shares)};
  }

  void expect_bits_of_cpu(const PreparationCase& given) const {
    const BatchPreparer on_cpu(at::kCPU), on_gpu(gpu_);
    const at::Tensor images = at::empty_like(given.images), targets = at::empty_like(given.targets);
    on_cpu.prepare(given.inputs, given.smoothing, images, targets);
    const at::Tensor gpu_images = at::empty_like(images, gpu_), gpu_targets = at::empty_like(targets, gpu_);
    on_gpu.prepare(moved(given.inputs), given.smoothing, gpu_images, gpu_targets);
    EXPECT_TRUE(gpu_images.cpu().equal(images));
    EXPECT_TRUE(gpu_targets.cpu().equal(targets));
  }

  const at::Device gpu_ = at::Device(at::kCUDA, 0);
};

TEST_F(PrepareOnGpu, EveryKindOfBatchHasTheCpusBits) {
  std::mt19937_64 random(16);
  for_each_preparation(random, {{2, 1, 1, 1}, {6, 5, 3, 2}, {16, 24, 10, 1}, {30, 9, 7, 0}},
                       [&](const PreparationCase& given) { expect_bits_of_cpu(given); });
}

TEST_F(PrepareOnGpu, ALargeBatchHasTheCpusBits) {
  std::mt19937_64 random(17);
  MixOptions mixing;
  mixing.mode = MixMode::elem;
  expect_bits_of_cpu(random_preparation(random, {128, 224, 1000, 3}, ErasingMode::pixel, mixing));
}

TEST_F(PrepareOnGpu, PixelsOfAnEvaluationHaveTheCpusBits) {
  const at::Tensor pixels = at::randint(256, {33, 57, 57, 3}, at::kByte);
  EXPECT_TRUE(BatchPreparer(gpu_).normalised(pixels).cpu().equal(BatchPreparer(at::kCPU).normalised(pixels)));
}

}  // namespace
}  // namespace maskedkd::testing
