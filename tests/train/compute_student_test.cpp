// The student of a step: gradients and logits equal those of the model whose weights are converted in every product, as
// autocast does it.
#include "maskedkd/train/compute_student.hpp"

#include "maskedkd/model/vit.hpp"
#include "support/initialised_vit.hpp"
#include "support/small_vits.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/randn.h>
#include <gtest/gtest.h>

#include <string>

namespace maskedkd {
namespace {

at::Tensor loss_of(const Vit& model, const at::Tensor& images, at::ScalarType dtype) {
  VitForward how;
  how.compute_dtype = dtype;
  return model.forward(images, how).combined_logits().pow(2).sum();
}

// MKL's last bits depend on where a tensor lies in memory.
bool is_near(const at::Tensor& found, const at::Tensor& expected, at::ScalarType dtype) {
  const double largest = dtype == at::kFloat ? 1e-4 : 2e-2;
  return (found - expected).norm().item<double>() <= largest * expected.norm().item<double>();
}

class ComputeStudentTest : public ::testing::TestWithParam<at::ScalarType> {};

TEST_P(ComputeStudentTest, GradientsEqualThoseOfConversionsInEveryProduct) {
  for (const char* family : {"DeiT", "distilled"}) {
    const VitOptions options = testing::small_vits().at(family);
    Vit plain = testing::initialised_vit(options, 5), trained = testing::initialised_vit(options, 5);
    const at::Tensor images = at::randn({3, 3, 16, 16});
    plain.set_requires_grad(true);
    const at::Tensor expected = loss_of(plain, images, GetParam());
    expected.backward();

    const FlatParameters parameters(trained);
    ComputeStudent student(options, parameters, GetParam());
    student.read_weights();
    const at::Tensor found = loss_of(student.model(), images, GetParam());
    found.backward();
    EXPECT_TRUE(is_near(found, expected, GetParam()));
    const at::Tensor gradient = at::empty_like(parameters.values());
    student.move_gradient(gradient, /*adds=*/false, 0, gradient.numel());
    const NamedTensors views = parameters.named_views(gradient);
    for (std::size_t i = 0; i < views.size(); ++i) {
      const std::string& name = views[i].first;
      if (name.find("qkv.bias") == std::string::npos) {  // a key's bias has no effect: its gradient is rounding
        EXPECT_TRUE(is_near(views[i].second, plain.parameters()[i].second.grad(), GetParam())) << name;
      }
    }
    // A second slice is added, and nothing is left from the first.
    loss_of(student.model(), images, GetParam()).backward();
    const at::Tensor twice = gradient.clone();
    student.move_gradient(twice, /*adds=*/true, 0, twice.numel());
    EXPECT_TRUE(is_near(twice, gradient * 2, GetParam()));
  }
}

// Stage by stage from the last block to the first, each completing the parameters of its blocks.
TEST_P(ComputeStudentTest, ABackwardPassThatIsCutHasTheSameGradients) {
  for (const auto& [name, options] : testing::small_vits()) {
    SCOPED_TRACE(name);
    Vit model = testing::initialised_vit(options, 5);
    const FlatParameters parameters(model);
    ComputeStudent student(options, parameters, GetParam());
    student.read_weights();
    const at::Tensor images = at::randn({3, 3, 16, 16});
    const std::int64_t size = parameters.size();
    loss_of(student.model(), images, GetParam()).backward();
    const at::Tensor whole = at::empty_like(parameters.values()), parts = at::full_like(whole, 1e30);
    student.move_gradient(whole, /*adds=*/false, 0, size);

    VitForward how;
    how.compute_dtype = GetParam();
    how.cut_before = {1, 2};
    const VitOutput output = student.model().forward(images, how);
    output.combined_logits().pow(2).sum().backward();
    ASSERT_EQ(output.cuts.size(), 2U);
    std::int64_t end = parameters.num_decayed();
    for (const int block : {2, 1, 0}) {
      const std::int64_t begin = block > 0 ? parameters.begin_of_block(block) : 0;
      ASSERT_LT(begin, end);
      student.move_gradient(parts, /*adds=*/false, begin, end);
      const at::Tensor found = parts.narrow(0, begin, end - begin), expected = whole.narrow(0, begin, end - begin);
      EXPECT_TRUE(is_near(found, expected, GetParam())) << "from block " << block;
      end = begin;
      if (block > 0) {
        const VitOutput::Cut& cut = output.cuts[static_cast<std::size_t>(block - 1)];
        cut.tokens.backward(cut.leaf.grad());
      }
    }
    student.move_gradient(parts, /*adds=*/false, parameters.num_decayed(), size);
    EXPECT_TRUE(is_near(parts, whole, GetParam()));
  }
}

TEST_P(ComputeStudentTest, NewWeightsAreSeenAfterReadWeights) {
  const VitOptions options = testing::small_vit();
  Vit trained = testing::initialised_vit(options, 5);
  const FlatParameters parameters(trained);
  ComputeStudent student(options, parameters, GetParam());
  const at::Tensor images = at::randn({2, 3, 16, 16});
  const at::NoGradGuard no_grad;
  parameters.values().mul_(1.25);
  student.read_weights();
  const at::Tensor expected = loss_of(trained, images, GetParam());
  EXPECT_TRUE(is_near(loss_of(student.model(), images, GetParam()), expected, GetParam()));
}

INSTANTIATE_TEST_SUITE_P(Types, ComputeStudentTest, ::testing::Values(at::kFloat, at::kBFloat16),
                         [](const auto& instance) { return std::string(c10::toString(instance.param)); });

}  // namespace
}  // namespace maskedkd
