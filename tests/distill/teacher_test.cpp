// The frozen teacher equals the model without gradients: from either kind of weights, masked or not, in both
// precisions. (tests/model compares the model with timm's.)
#include "maskedkd/distill/teacher.hpp"

#include "maskedkd/base/error.hpp"
#include "support/initialised_vit.hpp"
#include "support/temporary_directory.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/flip.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randn.h>
#include <gtest/gtest.h>

#include <fstream>
#include <string>

namespace maskedkd::testing {
namespace {

VitOptions small(bool distilled) {
  VitOptions options;
  options.input_size = 24;
  options.patch_size = 6;
  options.width = 48;
  options.depth = 3;
  options.num_heads = 3;
  options.num_classes = 11;
  options.distilled = distilled;
  options.layer_scale = options.uniform_drop_path = !distilled;
  options.position_on_class_token = distilled;
  return options;
}

class TeacherTest : public ::testing::TestWithParam<bool> {
 protected:
  TeacherTest() : options_(small(GetParam())), model_(initialised_vit(options_, 5)) {
    for (const auto& [name, parameter] : model_.parameters()) {
      parameter.copy_(at::randn(parameter.sizes()) * 0.3);
    }
    write_safetensors(directory_.path() / "model.safetensors", model_.parameters());
  }

  TemporaryDirectory directory_;
  VitOptions options_;
  Vit model_;
  at::Tensor images_ = at::randn({4, 3, 24, 24});
  at::Tensor kept_ = at::rand({4, 16}).argsort(1, false).narrow(1, 0, 7).contiguous();
};

TEST_P(TeacherTest, AnswersAsTheModelDoesWithoutGradients) {
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    const Teacher teacher(options_, directory_.path() / "model.safetensors", at::kCPU, dtype);
    EXPECT_EQ(teacher.options(), options_);
    for (const at::Tensor& kept : {at::Tensor(), kept_}) {
      VitForward how;
      how.compute_dtype = dtype;
      how.kept_patches = kept;
      const VitOutput output = model_.forward(images_, how);
      const at::Tensor expected = options_.distilled ? (output.logits + output.distillation_logits) / 2 : output.logits;
      ASSERT_TRUE(at::GradMode::is_enabled());
      const at::Tensor logits = teacher.logits(images_.clone().requires_grad_(), kept);
      EXPECT_TRUE(logits.equal(expected));
      EXPECT_EQ(logits.scalar_type(), at::kFloat);
      EXPECT_FALSE(logits.requires_grad());
      EXPECT_TRUE(at::GradMode::is_enabled());
    }
    EXPECT_FALSE(teacher.logits(images_, kept_).equal(teacher.logits(images_, {})));
  }
}

TEST_P(TeacherTest, ItsAttentionIsThatOfAPassOverAllPatches) {
  const Teacher teacher(options_, directory_.path() / "model.safetensors", at::kCPU, at::kFloat);
  VitForward how;
  how.want_class_attention = true;
  const at::Tensor attention = teacher.class_attention(images_.clone().requires_grad_());
  EXPECT_TRUE(attention.equal(model_.forward(images_, how).class_attention));
  EXPECT_FALSE(attention.requires_grad());
}

// Compared with PyTorch's antialiased bicubic interpolation, which reference.py compares with PIL's.
TEST_P(TeacherTest, ImagesOfAnotherSizeAreResized) {
  const auto tensors = read_safetensors(std::filesystem::path(MASKEDKD_REFERENCE_DIR) / "distill.safetensors").tensors;
  const Teacher teacher(options_, directory_.path() / "model.safetensors", at::kCPU, at::kFloat);
  for (const std::string sizes : {"size16to24", "size40to24"}) {
    const at::Tensor images = tensors.at(sizes + ".images"), resized = tensors.at(sizes + ".resized");
    const at::Tensor kept = kept_.narrow(0, 0, images.size(0));
    const at::Tensor fitted = teacher.fitted(images);
    EXPECT_TRUE(at::allclose(fitted, resized, 1e-5, 1e-5)) << sizes;
    EXPECT_TRUE(teacher.fitted(resized).is_same(resized)) << sizes;
    EXPECT_TRUE(at::allclose(teacher.logits(fitted, kept), teacher.logits(resized, kept), 1e-5, 1e-5)) << sizes;
    EXPECT_FALSE(at::allclose(teacher.logits(fitted, kept), teacher.logits(resized.flip(3), kept), 1e-2, 1e-2));
  }
}

INSTANTIATE_TEST_SUITE_P(Kinds, TeacherTest, ::testing::Bool(),
                         [](const auto& instance) { return instance.param ? "Distilled" : "Deit3"; });

std::string refusal(const VitOptions& options, const std::filesystem::path& weights) {
  try {
    const Teacher teacher(options, weights, at::kCPU, at::kFloat);
  } catch (const Error& error) {
    EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos) << error.what();
    return error.what();
  }
  return {};
}

TEST(TeacherWeights, UnsuitableFilesAreRefusedByName) {
  const TemporaryDirectory directory;
  const auto contains = [](const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
  };
  const VitOptions options = small(false);

  const auto absent = directory.path() / "absent.safetensors";
  EXPECT_TRUE(contains(refusal(options, absent), absent.string())) << refusal(options, absent);

  const auto other = directory.path() / "other.safetensors";
  write_safetensors(other, initialised_vit(small(true), 1).parameters());
  EXPECT_TRUE(contains(refusal(options, other), other.string())) << refusal(options, other);
  EXPECT_TRUE(contains(refusal(options, other), "missing blocks.0.ls1.gamma")) << refusal(options, other);

  VitOptions fewer_classes = options;
  fewer_classes.num_classes = 10;
  const auto classes = directory.path() / "classes.safetensors";
  write_safetensors(classes, initialised_vit(fewer_classes, 1).parameters());
  EXPECT_TRUE(contains(refusal(options, classes), "it has 10 classes, the model 11")) << refusal(options, classes);

  const auto text = directory.path() / "text.safetensors";
  std::ofstream(text) << "this is no file of weights";
  EXPECT_TRUE(contains(refusal(options, text), text.string())) << refusal(options, text);

  const auto cut = directory.path() / "cut.safetensors";
  write_safetensors(cut, initialised_vit(options, 1).parameters());
  std::filesystem::resize_file(cut, std::filesystem::file_size(cut) - 4);
  EXPECT_TRUE(contains(refusal(options, cut), cut.string())) << refusal(options, cut);
}

}  // namespace
}  // namespace maskedkd::testing
