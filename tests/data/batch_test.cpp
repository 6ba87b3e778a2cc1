#include "maskedkd/data/batch.hpp"
#include "codecs/reference.hpp"
#include "support/plain_preparation.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/ops/zeros.h>

#include <tuple>

namespace maskedkd::testing {
namespace {

TEST(Batch, IsNormalisedAsTorchvisionDoes) {
  const Tensors tensors = reference("batch.safetensors");
  const at::Tensor result = normalised_images(tensors.at("images"), at::kCPU);
  const at::Tensor& expected = tensors.at("normalised");
  ASSERT_EQ(result.sizes(), expected.sizes());
  EXPECT_EQ(result.scalar_type(), at::kFloat);
  EXPECT_TRUE(result.is_contiguous());
  const double error = (result - expected).abs().max().item<double>();
  std::printf("largest difference from torchvision: %.1e\n", error);
  EXPECT_LE(error, 5e-7);  // one unit in the last place of 2.64
}

TEST(Batch, ErasedBoxesContainNoiseAndNothingElseChanges) {
  const Tensors tensors = reference("batch.safetensors");
  const RandomAddress address{5, RandomPurpose::erasing_noise, 1, 2, 3, 4};
  StagedViews views;
  views.pixels = tensors.at("images");
  views.erasures = at::zeros({5, 2, kPlannedErasureWords}, at::kInt);
  auto* planned = reinterpret_cast<PlannedErasure*>(views.erasures.mutable_data_ptr<std::int32_t>());
  const at::Tensor expected = normalised_images(tensors.at("images"), at::kCPU);
  for (const auto& [image, box, number] :
       {std::tuple(1, PixelBox{0, 0, 30, 1}, 0U),
        {3, PixelBox{7, 11, 5, 20}, 0U},
        {3, PixelBox{9, 20, 10, 10}, 1U}}) {  // the last one remains where boxes overlap
    planned[2 * static_cast<std::uint32_t>(image) + number] = plan_erasure(box, ErasingMode::pixel, address, number);
    plainly_erase(expected[image], box, plain_erasure(box, ErasingMode::pixel, address, number));
  }
  EXPECT_TRUE(prepared_images(views, /*mixed=*/false).equal(expected));
}

TEST(Batch, LevelsAreFoundAgain) {
  const Tensors tensors = reference("batch.safetensors");
  const at::Tensor& pixels = tensors.at("images");
  const at::Tensor images = normalised_images(pixels, at::kCPU).permute({0, 2, 3, 1}).contiguous();
  for (std::int64_t i = 0; i < pixels.numel(); ++i) {
    ASSERT_NEAR(denormalised(images.const_data_ptr<float>()[i], static_cast<std::size_t>(i % 3)),
                pixels.const_data_ptr<std::uint8_t>()[i], 1e-3);
  }
}

}  // namespace
}  // namespace maskedkd::testing
