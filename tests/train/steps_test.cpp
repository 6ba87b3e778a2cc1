// Compares five training steps with PyTorch's (reference.py): DeiT-Tiny, plain and distilled, from a DeiT3-Small that
// sees 98 of 196 patches; small models with other grids and input sizes; other criteria than the paper's. In bf16 the
// steps must be as close to PyTorch's in fp32 as PyTorch's own in bf16 are. On a GPU (OnGpu) they are compared with
// PyTorch's on that GPU: the variable MASKEDKD_GPU_REFERENCE names the folder that reference.py FOLDER cuda has
// written.
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
#include <ATen/ops/tensor.h>
#ifdef MASKEDKD_WITH_CUDA
#include <c10/cuda/CUDAFunctions.h>
#endif
#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <ostream>

namespace maskedkd {
namespace {

constexpr double kRate = 5e-4;

using Tensors = std::map<std::string, at::Tensor>;

struct StepsCase {
  std::string name;
  VitOptions student, teacher;
  std::string teacher_file;
  std::int64_t keep = 0;
  DistillationType type = DistillationType::soft;
  MaskCriterion criterion = MaskCriterion::student;
  double clip = 0;  // largest norm of the gradient
  at::DeviceType device = at::kCPU;
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

// What five steps have computed, on the CPU.
struct Outcome {
  std::vector<double> losses;
  Tensors gradient;  // of the first step, before it is clipped: "gradient." and the parameter's name
  std::vector<double> norms;
  Tensors weights;  // "final." and the parameter's name
};

class Steps : public ::testing::TestWithParam<StepsCase> {
 protected:
  void SetUp() override {
    folder_ = MASKEDKD_REFERENCE_DIR;
    if (GetParam().device == at::kCUDA) {
#ifdef MASKEDKD_WITH_CUDA
      if (c10::cuda::device_count() == 0) {
        GTEST_SKIP() << "there is no GPU";
      }
#endif
      ASSERT_NE(std::getenv("MASKEDKD_GPU_REFERENCE"), nullptr) << "set it to the output folder of reference.py";
      folder_ = std::getenv("MASKEDKD_GPU_REFERENCE");
    }
    expected_ = read_safetensors(folder_ / (GetParam().name + ".safetensors")).tensors;
    initial_ = read_safetensors(folder_ / (GetParam().name + "_student.safetensors")).tensors;
    set_up_models(Precision::fp32);
  }

  void set_up_models(Precision precision) {
    options_.student = GetParam().student;
    options_.mask.keep = KeepCount::patches(GetParam().keep);
    options_.mask.criterion = GetParam().criterion;
    options_.distillation.type = GetParam().type;
    options_.mixing.probability = 0;
    options_.drop_path_rate = 0;
    options_.precision = precision;
    student_.emplace(GetParam().student);
    student_->load(initial_, GetParam().name + "_student.safetensors");
    student_->to_device(device());
    if (GetParam().type != DistillationType::none) {
      teacher_.emplace(GetParam().teacher, folder_ / (GetParam().teacher_file + ".safetensors"), device(),
                       scalar_type(precision));
    }
  }

  at::Device device() const { return GetParam().device; }

  MicroBatch batch_of(std::int64_t step, const DistillationStep& distillation) const {
    const at::Tensor labels = expected_.at("labels")[step];
    BatchRequest request;
    request.indices.resize(static_cast<std::size_t>(labels.size(0)));
    return testing::staged_micro_batch(request, distillation.decisions(), options_.seed, expected_.at("images")[step],
                                       labels);
  }

  Outcome train() {
    Outcome outcome;
    const FlatParameters parameters(*student_);
    AdamW optimizer(parameters, options_.adamw);
    DistillationStep distillation(options_, parameters, teacher_ ? &*teacher_ : nullptr);
    const at::Tensor finite = at::scalar_tensor(true, at::TensorOptions().dtype(at::kBool).device(device()));
    EXPECT_EQ(distillation.kept_patches(0), teacher_ ? GetParam().keep : 0);
    for (std::int64_t step = 0; step < expected_.at("losses").size(0); ++step) {
      distillation.read_weights();
      const MicroBatch batch = batch_of(step, distillation);
      const auto [loss, gradient] = distillation.run({batch, batch.staged.bytes.to(distillation.input_device())});
      outcome.losses.push_back(loss.item<double>());
      for (const auto& [name, value] : parameters.named_views(gradient, "gradient.")) {
        outcome.gradient.try_emplace(name, value.cpu().clone());
      }
      if (GetParam().clip > 0) {
        const at::Tensor norm = euclidean_norm(gradient);
        outcome.norms.push_back(norm.item<double>());
        clip_to_norm(gradient, norm, GetParam().clip);
      }
      optimizer.step(gradient, kRate, finite);
    }
    for (const auto& [name, value] : parameters.named_views(parameters.values())) {
      outcome.weights["final." + name] = value.cpu();
    }
    return outcome;
  }

  // All weights but those that can't be compared.
  at::Tensor all_weights(const Tensors& weights, const std::string& prefix = "final.") const {
    std::vector<at::Tensor> all;
    for (const auto& [name, value] : initial_) {
      all.push_back(without_key_bias(name, weights.at(prefix + name)));
    }
    return at::cat(all);
  }

  std::filesystem::path folder_;
  Tensors expected_, initial_;
  TrainOptions options_;
  std::optional<Vit> student_;
  std::optional<Teacher> teacher_;
};

TEST_P(Steps, LossesGradientsAndWeightsEqualPyTorchs) {
  const Outcome outcome = train();
  double worst_loss = 0, worst_gradient = 0, worst_tensor = 0;
