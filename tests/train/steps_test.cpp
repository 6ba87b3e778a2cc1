// Compares five training steps with PyTorch's (reference.py): DeiT-Tiny, plain and distilled, from a DeiT3-Small that
// sees 98 of 196 patches; small models with other grids and input sizes; other criteria than the paper's.
#include "maskedkd/data/batch.hpp"
#include "maskedkd/distill/teacher_view.hpp"
#include "maskedkd/io/safetensors.hpp"
#include "maskedkd/model/registry.hpp"
#include "maskedkd/train/adamw.hpp"
#include "maskedkd/train/distillation_step.hpp"
#include "maskedkd/train/gradient_norm.hpp"
#include "small_models.hpp"
#include "staged_micro_batch.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/scalar_tensor.h>
#include <ATen/ops/sort.h>
#include <ATen/ops/zeros_like.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <filesystem>
#include <ostream>

namespace maskedkd {
namespace {

constexpr double kRate = 5e-4;
const std::filesystem::path kReference = MASKEDKD_REFERENCE_DIR;

struct StepsCase {
  std::string name;
  VitOptions student, teacher;
  std::string teacher_file;
  std::int64_t keep = 0;
  DistillationType type = DistillationType::soft;
  MaskCriterion criterion = MaskCriterion::student;
  double clip = 0;  // largest norm of the gradient
};

std::ostream& operator<<(std::ostream& stream, const StepsCase& steps) { return stream << steps.name; }

std::vector<StepsCase> cases() {
  const VitOptions tiny = find_model("deit_tiny_patch16_224"), deit3 = find_model("deit3_small");
  const VitOptions distilled = find_model("deit_tiny_distilled_patch16_224");
  const VitOptions four = small_student(32, 8), six = small_student(42, 7);
  return {
      {"plain_soft", tiny, deit3, "deit3_small", 98},
      {"distilled_soft", distilled, deit3, "deit3_small", 98},
      {"distilled_hard", distilled, deit3, "deit3_small", 98, DistillationType::hard},
      {"finer_teacher", four, small_teacher(42, 7), "teacher_42_7", 14},
      {"coarser_teacher", six, small_teacher(32, 8), "teacher_32_8", 7},
      {"other_pixels", four, small_teacher(40, 10), "teacher_40_10", 8},
      {"lowest", four, small_teacher(42, 7), "teacher_42_7", 15, DistillationType::soft, MaskCriterion::lowest},
      {"own_attention", four, small_teacher(42, 7), "teacher_42_7", 15, DistillationType::soft, MaskCriterion::teacher},
      {"distilled_alone", small_student(32, 8, /*distilled=*/true), {}, "", 8, DistillationType::none},
      {"clipped", tiny, deit3, "deit3_small", 98, DistillationType::soft, MaskCriterion::student, 0.5}};
}

// A key's bias adds the same to all scores of a query, which does not change the softmax: its gradient is exactly 0,
// and Adam turns rounding errors into steps of any size. So the middle third of a qkv.bias can't be compared.
at::Tensor without_key_bias(const std::string& name, const at::Tensor& value) {
  if (name.find("qkv.bias") == std::string::npos) {
    return value.reshape({-1});
  }
  const std::int64_t width = value.size(0) / 3;
  return at::cat({value.narrow(0, 0, width), value.narrow(0, 2 * width, width)});
}

double distance(const at::Tensor& found, const at::Tensor& wanted) {
  return (found.to(at::kDouble) - wanted.to(at::kDouble)).norm().item<double>() / wanted.norm().item<double>();
}

class Steps : public ::testing::TestWithParam<StepsCase> {
 protected:
  Steps() : student_(GetParam().student) {
    options_.student = GetParam().student;
    options_.mask.keep = KeepCount::patches(GetParam().keep);
    options_.mask.criterion = GetParam().criterion;
    options_.distillation.type = GetParam().type;
    options_.mixing.probability = 0;
    options_.drop_path_rate = 0;
    options_.precision = Precision::fp32;
    student_.load(initial_, GetParam().name + "_student.safetensors");
    if (GetParam().type != DistillationType::none) {
      teacher_.emplace(GetParam().teacher, kReference / (GetParam().teacher_file + ".safetensors"), at::kCPU,
                       at::kFloat);
    }
  }

  MicroBatch batch_of(std::int64_t step, const DistillationStep& distillation) const {
    const at::Tensor labels = expected_.at("labels")[step];
    BatchRequest request;
    request.indices.resize(static_cast<std::size_t>(labels.size(0)));
    return testing::staged_micro_batch(request, distillation.decisions(), options_.seed, expected_.at("images")[step],
                                       labels);
  }

  const std::map<std::string, at::Tensor> expected_ =
      read_safetensors(kReference / (GetParam().name + ".safetensors")).tensors;
  const std::map<std::string, at::Tensor> initial_ =
      read_safetensors(kReference / (GetParam().name + "_student.safetensors")).tensors;
  TrainOptions options_;
  Vit student_;
  std::optional<Teacher> teacher_;
};

TEST_P(Steps, LossesGradientsAndWeightsEqualPyTorchs) {
  const FlatParameters parameters(student_);
  AdamW optimizer(parameters, options_.adamw);
  DistillationStep distillation(options_, parameters, teacher_ ? &*teacher_ : nullptr);
  EXPECT_EQ(distillation.kept_patches(0), teacher_ ? GetParam().keep : 0);

  double worst_loss = 0, worst_gradient = 0, worst_tensor = 0;
  const at::Tensor losses = expected_.at("losses");
  for (std::int64_t step = 0; step < losses.size(0); ++step) {
    distillation.read_weights();
    const MicroBatch batch = batch_of(step, distillation);
    const auto [loss_tensor, gradient] = distillation.run({batch, batch.staged.bytes});
    const double loss = loss_tensor.item<double>();
    const double wanted = losses[step].item<double>();
    worst_loss = std::max(worst_loss, std::abs(loss - wanted) / wanted);
    if (step == 0) {
      for (const auto& [name, value] : parameters.named_views(gradient, "gradient.")) {
        const at::Tensor& wanted_gradient = expected_.at(name);
        if (name.find("qkv.bias") != std::string::npos) {
          const std::int64_t width = value.size(0) / 3;
          EXPECT_LT((value.narrow(0, width, width).abs().max() / value.abs().max()).item<double>(), 1e-5) << name;
        }
        worst_gradient = std::max(worst_gradient, (value - wanted_gradient).abs().max().item<double>() /
                                                      wanted_gradient.abs().max().item<double>());
      }
    }
    if (GetParam().clip > 0) {
      const at::Tensor norm_tensor = euclidean_norm(gradient);
      const double norm = norm_tensor.item<double>();
      EXPECT_GT(norm, 2 * GetParam().clip) << "otherwise it is not clipped";
      if (step == 0) {
        EXPECT_NEAR(norm / expected_.at("norm").item<double>(), 1, 1e-5);
      }
      clip_to_norm(gradient, norm_tensor, GetParam().clip);
    }
    optimizer.step(gradient, kRate, at::scalar_tensor(true, at::kBool));
  }
  std::vector<at::Tensor> all_found, all_wanted, all_begun;
  for (const auto& [name, value] : parameters.named_views(parameters.values())) {
    all_found.push_back(without_key_bias(name, value));
    all_wanted.push_back(without_key_bias(name, expected_.at("final." + name)));
    all_begun.push_back(without_key_bias(name, initial_.at(name)));
    worst_tensor = std::max(worst_tensor, distance(all_found.back(), all_wanted.back()));
  }
  const at::Tensor found = at::cat(all_found), wanted = at::cat(all_wanted), begun = at::cat(all_begun);
  const double weights = distance(found, wanted), move = distance(found - begun, wanted - begun);
  std::printf("relative errors: loss %.1e, gradient %.1e, weights %.1e, their move %.1e, worst tensor's weights %.1e\n",
              worst_loss, worst_gradient, weights, move, worst_tensor);
  EXPECT_LT(worst_loss, 1e-6);
  EXPECT_LT(worst_gradient, 1e-5);
  EXPECT_LT(weights, 1e-5);
  EXPECT_LT(move, 1e-3);
  // Adam turns a gradient near 0 into a step of any size, so that single weights of millions can move in another
  // direction: PyTorch in float32 differs as much from PyTorch in float64 (4e-6 to 3e-5 for several seeds).
  EXPECT_LT(worst_tensor, 1e-4);
}

class StepsWithTeacher : public Steps {};

// The losses above depend on the patches too, but do not show which ones were kept.
TEST_P(StepsWithTeacher, TheTeacherSeesPyTorchsPatches) {
  const at::NoGradGuard no_grad;
  const at::Tensor images = normalised_images(expected_.at("images")[0], at::kCPU);
  VitForward how;
  how.want_class_attention = true;
  const VitOptions &student = GetParam().student, &teacher = GetParam().teacher;
  MaskOptions mask;
  mask.criterion = GetParam().criterion;
  mask.keep = KeepCount::patches(GetParam().keep);
  const TeacherView view(mask, /*num_epochs=*/1, student.grid_size(), teacher.grid_size());
  const at::Tensor kept = view.choose(0, {student_.forward(images, how).class_attention, {}, [&] {
                                            return teacher_->class_attention(teacher_->fitted(images));
                                          }});
  EXPECT_TRUE(std::get<0>(kept.sort(1)).equal(std::get<0>(expected_.at("kept").sort(1))));
}

std::string name_of(const ::testing::TestParamInfo<StepsCase>& instance) { return instance.param.name; }

std::vector<StepsCase> cases_with_teacher() {
  std::vector<StepsCase> some = cases();
  std::erase_if(some, [](const StepsCase& steps) { return steps.type == DistillationType::none; });
  return some;
}

INSTANTIATE_TEST_SUITE_P(Cases, Steps, ::testing::ValuesIn(cases()), name_of);
INSTANTIATE_TEST_SUITE_P(Cases, StepsWithTeacher, ::testing::ValuesIn(cases_with_teacher()), name_of);

}  // namespace
}  // namespace maskedkd
