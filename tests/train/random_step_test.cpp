// One step with everything random switched on (erasing, Mixup and CutMix, drop path, a loss scale) against PyTorch and
// timm in random_step.py, which is given the decisions as drawn here. That they are drawn as they should be is tested
// with the modules that draw them.
#include "maskedkd/base/philox.hpp"
#include "maskedkd/data/mixing.hpp"
#include "maskedkd/data/random_patches.hpp"
#include "maskedkd/io/safetensors.hpp"
#include "maskedkd/train/adamw.hpp"
#include "maskedkd/train/distillation_step.hpp"
#include "small_models.hpp"
#include "staged_micro_batch.hpp"
#include "support/plain_preparation.hpp"
#include "support/process.hpp"
#include "support/temporary_directory.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/scalar_tensor.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros_like.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <ostream>

namespace maskedkd::testing {
namespace {

constexpr double kLossScale = 1024;
const std::filesystem::path kReference = MASKEDKD_REFERENCE_DIR;

struct RandomCase {
  std::string name;
  MixMode mode = MixMode::batch;
  double mixup_alpha = 0.8, cutmix_alpha = 1.0;
  std::uint64_t seed = 0;
  double patch_drop = 0;  // then without a teacher
};

std::ostream& operator<<(std::ostream& stream, const RandomCase& random) { return stream << random.name; }

class RandomStep : public ::testing::TestWithParam<RandomCase> {
 protected:
  RandomStep() : student_(small_student(32, 8)) {
    options_.student = student_.options();
    options_.mask.keep = KeepCount::patches(14);
    options_.mixing.mode = GetParam().mode;
    options_.mixing.mixup_alpha = GetParam().mixup_alpha;
    options_.mixing.cutmix_alpha = GetParam().cutmix_alpha;
    options_.drop_path_rate = 0.4;
    options_.patch_drop = GetParam().patch_drop;
    if (options_.patch_drop > 0) {
      options_.distillation.type = DistillationType::none;
    }
    options_.precision = Precision::fp32;
    options_.seed = GetParam().seed;
    student_.load(read_safetensors(kReference / "finer_teacher_student.safetensors").tensors, "student");
    student_.set_requires_grad(true);
    const auto given = read_safetensors(kReference / "finer_teacher.safetensors").tensors;
    pixels_ = given.at("images")[0];
    labels_ = given.at("labels")[0];
    set_erasures();
  }

  // Two overlapping boxes in every other image.
  void set_erasures() {
    for (std::size_t image = 0; image < 8; image += 2) {
      const int offset = static_cast<int>(image);
      boxes_[image] = {{.top = offset, .left = 3, .height = 9, .width = 12},
                       {.top = 5, .left = offset + 2, .height = 11, .width = 6}};
    }
  }

  NamedTensors decisions() const {
    NamedTensors all = {{"images", pixels_}, {"labels", labels_}};
    PhiloxStream mix_random(request_.address(RandomPurpose::mixing, options_.seed));
    std::vector<double> lambdas;
    std::vector<std::int64_t> boxes;  // of whole height 0: mixed, not cut
    for (const MixPlan::Sample& sample : draw_mix_plan(mix_random, 8, 32, 32, options_.mixing).samples) {
      lambdas.push_back(sample.lambda);
      const PixelBox box = sample.cut ? sample.box : PixelBox{};
      boxes.insert(boxes.end(), {sample.cut ? 1 : 0, box.top, box.left, box.height, box.width});
    }
    all.emplace_back("lambdas", at::tensor(lambdas, at::kDouble));
    all.emplace_back("boxes", at::tensor(boxes).view({8, 5}));
    PhiloxStream drop_random(request_.address(RandomPurpose::drop_path, options_.seed));
    std::vector<float> uniforms;
    for (int i = 0; i < 3 * 2 * 8; ++i) {
      uniforms.push_back(static_cast<float>(drop_random.next_word() >> 8) * 0x1p-24F);
    }
    all.emplace_back("uniforms", at::tensor(uniforms).view({3, 2, 8}));
    if (options_.patch_drop > 0) {
      PhiloxStream patch_random(request_.address(RandomPurpose::patch_selection, options_.seed));
      const double dropped = options_.patch_drop * patch_random.uniform();
      const auto seen = static_cast<std::int64_t>(std::ceil(16 * (1 - dropped)));
      EXPECT_LT(seen, 16);
      const at::Tensor scores = at::empty({8, 16}, at::kFloat);
      draw_random_scores(patch_random, scores);
      const at::Tensor order = scores.argsort(1, /*descending=*/true);
      all.emplace_back("seen", order.narrow(1, 0, seen).contiguous());
    }
    for (std::size_t image = 0; image < 8; ++image) {
      for (std::uint32_t i = 0; i < boxes_[image].size(); ++i) {
        const PixelBox& box = boxes_[image][i];
        const RandomAddress address =
            request_.address(RandomPurpose::erasing_noise, options_.seed, static_cast<std::uint32_t>(image));
        const std::string name = fmt::format("erasure.{}.{}", image, i);
        all.emplace_back(name + ".box", at::tensor({box.top, box.left, box.height, box.width}, at::kLong));
        all.emplace_back(name + ".noise", plain_erasure(box, ErasingMode::pixel, address, i));
      }
    }
    return all;
  }

  TrainOptions options_;
  Vit student_;
  const BatchRequest request_{3, 17, 2, std::vector<std::int64_t>(8)};
  at::Tensor pixels_, labels_;
  std::vector<std::vector<PixelBox>> boxes_ = std::vector<std::vector<PixelBox>>(8);
};

TEST_P(RandomStep, LossAndGradientsArePyTorchs) {
  const TemporaryDirectory folder;
  write_safetensors(folder.path() / "decisions.safetensors", decisions());
  const ProcessResult script =
      run_process({MASKEDKD_PYTHON, MASKEDKD_SOURCE_DIR "/tests/train/random_step.py", kReference.string(),
                   (folder.path() / "decisions.safetensors").string(), (folder.path() / "step.safetensors").string()},
                  /*timeout_s=*/300);
  ASSERT_EQ(script.exit_code, 0) << script.output;
  const auto expected = read_safetensors(folder.path() / "step.safetensors").tensors;

  const Teacher teacher(small_teacher(42, 7), kReference / "teacher_42_7.safetensors", at::kCPU, at::kFloat);
  const FlatParameters parameters(student_);
  DistillationStep step(options_, parameters, options_.patch_drop > 0 ? nullptr : &teacher);
  const MicroBatch batch = staged_micro_batch(request_, step.decisions(), options_.seed, pixels_, labels_, boxes_);
  const auto [loss, gradient] = step.run({batch, batch.staged.bytes}, at::scalar_tensor(kLossScale, at::kFloat));

  EXPECT_NEAR(loss.item<double>() / expected.at("loss").item<double>(), 1, 1e-6);
  for (const auto& [name, value] : parameters.named_views(gradient, "gradient.")) {
    const at::Tensor& wanted = expected.at(name);
    const double difference = (value / kLossScale - wanted).abs().max().item<double>();
    EXPECT_LT(difference, 2e-5 * wanted.abs().max().item<double>() + 1e-9) << name;
  }
}

INSTANTIATE_TEST_SUITE_P(Cases, RandomStep,
                         ::testing::Values(RandomCase{"mixup", MixMode::batch, 0.8, 0, 1},
                                           RandomCase{"cutmix", MixMode::batch, 0, 1.0, 2},
                                           RandomCase{"both_by_pair", MixMode::pair, 0.8, 1.0, 3},
                                           RandomCase{"both_by_image", MixMode::elem, 0.8, 1.0, 4},
                                           RandomCase{"some_patches", MixMode::batch, 0.8, 1.0, 5, 0.5},
                                           RandomCase{"few_patches", MixMode::elem, 0.8, 1.0, 6, 0.95}),
                         [](const auto& instance) { return instance.param.name; });

}  // namespace
}  // namespace maskedkd::testing
