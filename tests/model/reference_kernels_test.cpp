// A model with this program's kernels equals the same composed of LibTorch's operators: logits, attention and
// gradients.
#include "maskedkd/model/vit.hpp"
#include "support/initialised_vit.hpp"
#include "support/small_vits.hpp"

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

namespace maskedkd {
namespace {

struct Results {
  at::Tensor logits, attention;
  std::vector<at::Tensor> gradients;
};

Results results_of(const Vit& model, const at::Tensor& images, VitForward how, bool reference) {
  how.reference_kernels = reference;
  const VitOutput output = model.forward(images, how);
  output.combined_logits().pow(2).sum().backward();
  Results results = {output.combined_logits().detach(), output.class_attention, {}};
  for (const auto& [name, parameter] : model.parameters()) {
    results.gradients.push_back(parameter.grad().clone());
    parameter.mutable_grad().reset();
  }
  return results;
}

double difference(const at::Tensor& found, const at::Tensor& expected) {
  return ((found - expected).norm() / (expected.norm() + 1e-12)).item<double>();
}

class ReferenceKernels : public ::testing::TestWithParam<at::ScalarType> {};

TEST_P(ReferenceKernels, GiveTheSame) {
  at::manual_seed(9);
  const double largest = GetParam() == at::kFloat ? 2e-5 : 4e-2;
  std::map<std::string, VitOptions> families = testing::small_vits();
  families["one block"] = testing::small_vit();
  families["one block"].depth = 1;
  for (const auto& [name, options] : families) {
    for (const bool drops : {false, true}) {
      SCOPED_TRACE(name + (drops ? ", drop path" : ""));
      Vit model = testing::initialised_vit(options, 5);
      {
        const at::NoGradGuard no_grad;
        for (const auto& [parameter_name, parameter] : model.parameters()) {
          at::Tensor values = parameter;
          values.add_(at::randn(values.sizes()) * 0.05);  // biases and norms are not 0 and 1
        }
      }
      model.set_requires_grad(true);
      const at::Tensor images = at::randn({5, 3, 16, 16});
      VitForward how;
      how.compute_dtype = GetParam();
      how.want_class_attention = true;
      if (drops) {
        how.drop_path_factors = at::rand({options.depth, 2, 5}).gt(0.3).to(at::kFloat) / 0.7;
      }
      const Results found = results_of(model, images, how, false), expected = results_of(model, images, how, true);
      EXPECT_LE(difference(found.logits, expected.logits), largest);
      EXPECT_LE(difference(found.attention, expected.attention), largest);
      for (std::size_t i = 0; i < found.gradients.size(); ++i) {
        const std::string& parameter = model.parameters()[i].first;
        // What is added to all scores of a softmax has no effect: the gradient is rounding.
        const bool has_effect = parameter.find("qkv.bias") == std::string::npos &&
                                parameter.find("attn.k.bias") == std::string::npos &&
                                parameter.find("attn.proj_l.bias") == std::string::npos;
        if (has_effect) {
          EXPECT_LE(difference(found.gradients[i], expected.gradients[i]), largest) << parameter;
        }
      }
      const at::NoGradGuard no_grad;
      VitForward masked;
      masked.compute_dtype = GetParam();
      masked.kept_patches = at::rand({5, options.num_patches()})
                                .argsort(/*stable=*/false, /*dim=*/1, /*descending=*/false)
                                .narrow(1, 0, 6);
      const at::Tensor logits = model.forward(images, masked).combined_logits();
      masked.reference_kernels = true;
      EXPECT_LE(difference(logits, model.forward(images, masked).combined_logits()), largest);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Types, ReferenceKernels, ::testing::Values(at::kFloat, at::kBFloat16),
                         [](const auto& instance) { return std::string(c10::toString(instance.param)); });

}  // namespace
}  // namespace maskedkd
