#include "maskedkd/data/batch.hpp"
#include "codecs/reference.hpp"

#include <ATen/TensorOperators.h>

namespace maskedkd::testing {
namespace {

TEST(Batch, IsNormalisedAsTorchvisionDoes) {
  const Tensors tensors = reference("batch.safetensors");
  MicroBatch batch;
  batch.images = tensors.at("images");
  const at::Tensor result = normalised_images(batch, at::kCPU);
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
  MicroBatch batch;
  batch.images = tensors.at("images");
  const at::Tensor clean = normalised_images(batch, at::kCPU);
  batch.erasures.resize(5);
  float value = 100;
  for (const auto& [image, box] :
       {std::pair(1, PixelBox{0, 0, 30, 1}), {3, PixelBox{7, 11, 5, 20}}, {3, PixelBox{9, 20, 10, 10}}}) {
    Erasure erasure{box, {}};
    for (int i = 0; i < 3 * box.height * box.width; ++i) {
      erasure.noise.push_back(value++);
    }
    batch.erasures[static_cast<std::size_t>(image)].push_back(erasure);
  }
  const at::Tensor result = normalised_images(batch, at::kCPU);
  for (int image = 0; image < 5; ++image) {
    for (int c = 0; c < 3; ++c) {
      for (int y = 0; y < 31; ++y) {
        for (int x = 0; x < 31; ++x) {
          const auto index = ((image * 3 + c) * 31 + y) * 31 + x;
          float expected = clean.const_data_ptr<float>()[index];
          for (const auto& [box, noise] :
               batch.erasures[static_cast<std::size_t>(image)]) {  // the last one remains where boxes overlap
            const int row = y - box.top, column = x - box.left;
            if (row >= 0 && row < box.height && column >= 0 && column < box.width) {
              expected = noise[static_cast<std::size_t>((c * box.height + row) * box.width + column)];
            }
          }
          ASSERT_EQ(result.const_data_ptr<float>()[index], expected) << image << " " << c << " " << y << " " << x;
        }
      }
    }
  }
}

}  // namespace
}  // namespace maskedkd::testing
