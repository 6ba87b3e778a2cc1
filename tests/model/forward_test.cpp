// Compares the forward pass with timm's, on the same weights and images.
#include "maskedkd/base/error.hpp"
#include "reference_cases.hpp"
#include "support/initialised_vit.hpp"

#include <ATen/ops/arange.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/sort.h>
#include <ATen/ops/topk.h>

namespace maskedkd::testing {
namespace {

constexpr double kTolerance = 1e-5;

class Forward : public ::testing::TestWithParam<ReferenceCase> {
 protected:
  const ReferenceCase& reference() const { return GetParam(); }
  Vit model_ = GetParam().model();
  std::map<std::string, at::Tensor> values_ = GetParam().values();

  VitForward masked() const {
    VitForward how;
    how.kept_patches = values_.at("kept");
    return how;
  }

  void expect_logits(const VitOutput& output, const std::string& prefix, double tolerance) {
    const double error = relative_error(output.logits, values_.at(prefix + "logits"));
    report(reference().name + " " + prefix + "logits", error);
    EXPECT_LE(error, tolerance);
    ASSERT_EQ(output.distillation_logits.defined(), reference().options.distilled);
    if (reference().options.distilled) {
      const double second = relative_error(output.distillation_logits, values_.at(prefix + "distillation_logits"));
      report(reference().name + " " + prefix + "distillation_logits", second);
      EXPECT_LE(second, tolerance);
    }
  }
};

TEST_P(Forward, AllPatchesGiveTimmsLogits) {
  const VitOutput output = model_.forward(values_.at("images"), {});
  expect_logits(output, "", kTolerance);
  const at::Tensor mean =
      reference().options.distilled ? (output.logits + output.distillation_logits) / 2 : output.logits;
  EXPECT_LE(relative_error(mean, values_.at("timm_logits")), kTolerance);
  EXPECT_FALSE(output.class_attention.defined());
}

TEST_P(Forward, KeptPatchesGiveTimmsLogits) {
  expect_logits(model_.forward(values_.at("images"), masked()), "masked_", kTolerance);
}

TEST_P(Forward, ClassAttentionEqualsTimms) {
  VitForward how;
  how.want_class_attention = true;
  const at::Tensor attention = model_.forward(values_.at("images"), how).class_attention;
  const double error = relative_error(attention, values_.at("class_attention"));
  report(reference().name + " class attention", error);
  EXPECT_LE(error, kTolerance);
  EXPECT_FALSE(attention.requires_grad());

  const at::Tensor kept = values_.at("kept");
  const at::Tensor chosen = std::get<0>(std::get<1>(attention.topk(kept.size(1), 1)).sort(1));
  EXPECT_TRUE(chosen.equal(std::get<0>(kept.sort(1))));

  how.kept_patches = kept;
  EXPECT_LE(
      relative_error(model_.forward(values_.at("images"), how).class_attention, values_.at("masked_class_attention")),
      kTolerance);
}

TEST_P(Forward, DropPathScalesAndDropsBranches) {
  VitForward how;
  how.drop_path_factors = reference().drop_path_factors();
  expect_logits(model_.forward(values_.at("images"), how), "drop_path_", kTolerance);
  // The result equals that of evaluation if and only if no block drops (one block, rising rate).
  const bool drops = reference().options.uniform_drop_path || reference().options.depth > 1;
  EXPECT_EQ(relative_error(values_.at("drop_path_logits"), values_.at("logits")) > 1e-3, drops);
}

TEST_P(Forward, Bf16IsAsCloseToFp32AsAutocastIs) {
  VitForward how = masked();
  how.compute_dtype = at::kBFloat16;
  const auto check = [&](const VitOutput& output, const std::string& prefix) {
    const at::Tensor exact = values_.at(prefix + "logits"), autocast = values_.at("bf16_" + prefix + "logits");
    EXPECT_EQ(output.logits.scalar_type(), at::kFloat);
    const auto distance = [](const at::Tensor& a, const at::Tensor& b) {
      return ((a - b).square().sum() / b.square().sum()).sqrt().item<double>();
    };
    const double ours = distance(output.logits, exact), theirs = distance(autocast, exact);
    report(reference().name + " bf16 " + prefix + "rms from fp32", ours);
    report(reference().name + " bf16 " + prefix + "rms from fp32, autocast", theirs);
    report(reference().name + " bf16 " + prefix + "rms from autocast", distance(output.logits, autocast));
    EXPECT_LE(ours, 1.5 * theirs + 2e-3);
    EXPECT_GT(ours, 1e-5);  // it was computed in bf16
    EXPECT_LE(distance(output.logits, autocast), 2 * theirs + 2e-3);
  };
  check(model_.forward(values_.at("images"), how), "masked_");
  how.kept_patches = at::Tensor();
  check(model_.forward(values_.at("images"), how), "");

  // Weights cast once beforehand give the same result as weights cast on every call.
  const VitOutput before = model_.forward(values_.at("images"), how);
  model_.cast_matrix_weights(at::kBFloat16);
  EXPECT_TRUE(model_.forward(values_.at("images"), how).logits.equal(before.logits));
}

TEST_P(Forward, OrderOfKeptPatchesIsIrrelevant) {
  const at::Tensor images = values_.at("images");
  const std::int64_t patches = reference().options.num_patches();
  VitForward how;
  how.kept_patches = at::rand({images.size(0), patches}).argsort(1, false);
  const double error = relative_error(model_.forward(images, how).logits, values_.at("logits"));
  report(reference().name + " all patches permuted", error);
  EXPECT_LE(error, 3e-6);
}

TEST_P(Forward, PixelsOfPatchesThatAreNotKeptAreIrrelevant) {
  const VitOptions& options = reference().options;
  const at::Tensor images = values_.at("images").clone(), kept = values_.at("kept");
  const at::Tensor before = model_.forward(images, masked()).logits;
  const std::int64_t grid = options.grid_size(), size = options.patch_size;
  std::int64_t changed = 0;
  for (std::int64_t image = 0; image < images.size(0); ++image) {
    for (std::int64_t patch = 0; patch < options.num_patches(); ++patch) {
      if (!(kept[image] == patch).any().item<bool>()) {
        images[image]
            .narrow(1, patch / grid * size, size)
            .narrow(2, patch % grid * size, size)
            .copy_(at::randn({3, size, size}));
        ++changed;
      }
    }
  }
  EXPECT_EQ(changed, images.size(0) * (options.num_patches() - kept.size(1)));
  EXPECT_TRUE(model_.forward(images, masked()).logits.equal(before));
}

// timm's linspace(0, rate, depth), or the same rate everywhere.
TEST(DropPath, RatesRiseLinearlyOrAreUniform) {
  VitOptions options;
  options.depth = 5;
  for (int block = 0; block < 5; ++block) {
    EXPECT_DOUBLE_EQ(drop_path_rate_of(block, options, 0.2), 0.05 * block);
  }
  options.depth = 1;
  EXPECT_EQ(drop_path_rate_of(0, options, 0.2), 0);
  options.uniform_drop_path = true;
  EXPECT_EQ(drop_path_rate_of(0, options, 0.2), 0.2);
}

INSTANTIATE_TEST_SUITE_P(AllModels, Forward, ::testing::ValuesIn(reference_cases()),
                         [](const auto& instance) { return instance.param.name; });

// The largest difference that a permutation of all patches may cause, with weights as they are initialised.
TEST(VitForward, PermutedPatchesOfFreshModelGiveTheSameLogits) {
  at::manual_seed(5);
  for (const bool deit3 : {false, true}) {
    VitOptions options;
    options.layer_scale = deit3;
    options.position_on_class_token = !deit3;
    const Vit model = initialised_vit(options, 17);
    const at::Tensor images = at::randn({2, 3, 224, 224});
    VitForward how;
    how.kept_patches = at::rand({2, 196}).argsort(1, false);
    const double difference =
        (model.forward(images, how).logits - model.forward(images, {}).logits).abs().max().item<double>();
    report("largest difference of logits", difference);
    EXPECT_LT(difference, 1e-6);
  }
}

TEST(VitForward, RefusesImagesOfAnotherShape) {
  const ReferenceCase reference = reference_case("small_plain");
  const Vit model = reference.model();
  for (const std::vector<std::int64_t>& shape :
       {std::vector<std::int64_t>{2, 3, 28, 21}, {2, 3, 35, 35}, {2, 1, 28, 28}, {3, 28, 28}}) {
    EXPECT_THROW(model.forward(at::randn(shape), {}), Error);
  }
  EXPECT_NO_THROW(model.forward(at::randn({1, 3, 28, 28}), {}));
}

TEST(VitForward, TakesImagesOfAnyMemoryLayout) {
  const ReferenceCase reference = reference_case("small_plain");
  const Vit model = reference.model();
  const at::Tensor images = reference.values().at("images");
  const at::Tensor channels_last = images.contiguous(at::MemoryFormat::ChannelsLast);
  EXPECT_LE(relative_error(model.forward(channels_last, {}).logits, reference.values().at("logits")), kTolerance);
}

}  // namespace
}  // namespace maskedkd::testing
