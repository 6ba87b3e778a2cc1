// Five steps of the real thing against PyTorch's: DeiT-Tiny from DeiT3-Small that sees 98 of 196 patches.
#include "maskedkd/io/safetensors.hpp"
#include "maskedkd/model/registry.hpp"
#include "maskedkd/train/adamw.hpp"
#include "maskedkd/train/distillation_step.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/zeros_like.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <filesystem>

namespace maskedkd {
namespace {

constexpr double kRate = 5e-4;

// A key's bias adds the same to all scores of a query, which softmax takes away again: its gradient is exactly 0, and
// what floating point leaves of it Adam makes into steps of any size. So the middle third of a qkv.bias is nothing to
// compare.
at::Tensor without_key_bias(const std::string& name, const at::Tensor& value) {
  if (name.find("qkv.bias") == std::string::npos) {
    return value.reshape({-1});
  }
  const std::int64_t width = value.size(0) / 3;
  return at::cat({value.narrow(0, 0, width), value.narrow(0, 2 * width, width)});
}

TEST(Steps, LossesGradientsAndWeightsArePyTorchs) {
  const std::filesystem::path reference = MASKEDKD_REFERENCE_DIR;
  std::map<std::string, at::Tensor> expected = read_safetensors(reference / "steps.safetensors").tensors;

  TrainOptions options;
  options.student = find_model("deit_tiny_patch16_224");
  options.mixing.probability = 0;
  options.drop_path_rate = 0;
  options.precision = Precision::fp32;
  ASSERT_EQ(options.resolved_keep(), 98);
  Vit student(options.student);
  student.load(read_safetensors(reference / "student.safetensors").tensors, "student.safetensors");
  student.set_requires_grad(true);
  const Teacher teacher(find_model("deit3_small"), reference / "teacher.safetensors", at::kCPU, at::kFloat);
  const FlatParameters parameters(student);
  AdamW optimizer(parameters, options.adamw);
  const DistillationStep distillation(options, student, &teacher, at::kCPU);

  const auto distance = [](const at::Tensor& found, const at::Tensor& wanted) {
    return (found.to(at::kDouble) - wanted.to(at::kDouble)).norm().item<double>() / wanted.norm().item<double>();
  };
  const std::map<std::string, at::Tensor> initial = read_safetensors(reference / "student.safetensors").tensors;
  double worst_loss = 0, worst_gradient = 0, worst_weight = 0, worst_move = 0;
  const at::Tensor losses = expected.at("losses");
  for (std::int64_t step = 0; step < losses.size(0); ++step) {
    MicroBatch batch;
    batch.images = expected.at("images")[step];
    batch.labels = expected.at("labels")[step];
    batch.request.indices.resize(static_cast<std::size_t>(batch.labels.size(0)));
    batch.erasures.resize(batch.request.indices.size());
    const at::Tensor gradient = at::zeros_like(parameters.values());
    parameters.bind_gradients(gradient);
    const double loss = distillation.run(batch, 1.0).item<double>();
    const double wanted = losses[step].item<double>();
    worst_loss = std::max(worst_loss, std::abs(loss - wanted) / wanted);
    if (step == 0) {
      for (const auto& [name, value] : parameters.named_views(gradient, "gradient.")) {
        const at::Tensor& wanted_gradient = expected.at(name);
        if (name.find("qkv.bias") != std::string::npos) {
          const std::int64_t width = value.size(0) / 3;
          EXPECT_LT((value.narrow(0, width, width).abs().max() / value.abs().max()).item<double>(), 1e-5) << name;
        }
        worst_gradient = std::max(worst_gradient, (value - wanted_gradient).abs().max().item<double>() /
                                                      wanted_gradient.abs().max().item<double>());
      }
    }
    optimizer.step(gradient, kRate);
  }
  for (const auto& [name, value] : parameters.named_views(parameters.values())) {
    const at::Tensor found = without_key_bias(name, value);
    const at::Tensor wanted = without_key_bias(name, expected.at("final." + name));
    const at::Tensor begin = without_key_bias(name, initial.at(name));
    worst_weight = std::max(worst_weight, distance(found, wanted));
    worst_move = std::max(worst_move, distance(found - begin, wanted - begin));
  }
  std::printf("relative errors: loss %.1e, gradient %.1e, weights %.1e, their move %.1e\n", worst_loss, worst_gradient,
              worst_weight, worst_move);
  EXPECT_LT(worst_loss, 1e-6);
  EXPECT_LT(worst_gradient, 1e-5);
  EXPECT_LT(worst_weight, 1e-5);
  EXPECT_LT(worst_move, 1e-3);
}

}  // namespace
}  // namespace maskedkd
