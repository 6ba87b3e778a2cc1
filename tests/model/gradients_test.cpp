// Compares gradients of the student with PyTorch's, computed in float64 through timm's modules.
#include "reference_cases.hpp"

namespace maskedkd::testing {
namespace {

// Adding the same value to all scores of a query does not change the softmax: the bias of a key, and of the mixture of
// heads before it, have no gradient. (The key's part of qkv.bias is small beside the rest of that tensor.)
bool is_zero_but_for_rounding(const std::string& name) {
  const auto ends_with = [&](const std::string& end) {
    return name.size() > end.size() && name.compare(name.size() - end.size(), end.size(), end) == 0;
  };
  return ends_with("attn.k.bias") || ends_with("attn.proj_l.bias");
}

class Gradients : public ::testing::TestWithParam<ReferenceCase> {
 protected:
  // Largest relative error over the parameters, of the gradient of sum(logits * cotangent).
  void expect_gradients(const VitForward& how, const std::string& prefix) {
    const auto values = GetParam().values();
    Vit model = GetParam().model();
    model.set_requires_grad(true);
    const VitOutput output = model.forward(values.at("images"), how);
    at::Tensor sum = (output.logits * values.at(prefix + "cotangent0")).sum();
    if (output.distillation_logits.defined()) {
      sum = sum + (output.distillation_logits * values.at(prefix + "cotangent1")).sum();
    }
    sum.backward();
    double worst = 0, worst_rounding = 0;
    for (const auto& [name, parameter] : model.parameters()) {
      ASSERT_TRUE(parameter.grad().defined()) << name;
      const at::Tensor& expected = values.at(prefix + "grad." + name);
      if (is_zero_but_for_rounding(name)) {
        const std::string comparable = name.substr(0, name.rfind("attn.")) + "attn.proj.bias";
        const double scale = values.at(prefix + "grad." + comparable).abs().max().item<double>();
        EXPECT_LE(parameter.grad().abs().max().item<double>(), 1e-4 * scale) << name;
        continue;
      }
      if (expected.abs().max().item<double>() == 0) {  // every sample dropped this branch
        EXPECT_EQ(parameter.grad().abs().max().item<double>(), 0) << name;
        continue;
      }
      const double error = relative_error(parameter.grad(), expected);
      const double rounding = values.at(prefix + "rounding." + name).item<double>();
      EXPECT_LE(error, std::max(1e-5, 10 * rounding)) << name;
      worst = std::max(worst, error);
      worst_rounding = std::max(worst_rounding, rounding);
    }
    report(GetParam().name + " " + prefix + "gradients, worst tensor", worst);
    report(GetParam().name + " " + prefix + "gradients, PyTorch's worst", worst_rounding);
    EXPECT_LE(worst_rounding, 2e-3);  // deep in a CaiT, proj_l's is a small difference of large sums
  }
};

TEST_P(Gradients, EqualPyTorchs) { expect_gradients({}, ""); }

TEST_P(Gradients, WithDropPathEqualPyTorchs) {
  VitForward how;
  how.drop_path_factors = GetParam().drop_path_factors();
  how.want_class_attention = true;  // must not change the gradients
  expect_gradients(how, "drop_path_");
}

INSTANTIATE_TEST_SUITE_P(AllModels, Gradients, ::testing::ValuesIn(reference_cases()),
                         [](const auto& instance) { return instance.param.name; });

TEST(GradientsBf16, ReachMasterWeightsInFp32) {
  for (const char* name :
       {"deit_tiny_patch16_224", "small_plain", "small_distilled", "small_deit3", "small_cait", "small_mae"}) {
    const ReferenceCase reference = reference_case(name);
    const auto values = reference.values();
    Vit model = reference.model();
    model.set_requires_grad(true);
    VitForward how;
    how.compute_dtype = at::kBFloat16;
    const VitOutput output = model.forward(values.at("images"), how);
    at::Tensor sum = (output.logits * values.at("cotangent0")).sum();
    if (output.distillation_logits.defined()) {
      sum = sum + (output.distillation_logits * values.at("cotangent1")).sum();
    }
    sum.backward();
    double dot = 0, ours = 0, theirs = 0;
    for (const auto& [parameter_name, parameter] : model.parameters()) {
      const at::Tensor& grad = parameter.grad();
      const at::Tensor& expected = values.at("grad." + parameter_name);
      EXPECT_EQ(grad.scalar_type(), at::kFloat) << parameter_name;
      dot += (grad * expected).sum().item<double>();
      ours += grad.square().sum().item<double>();
      theirs += expected.square().sum().item<double>();
    }
    const double cosine = dot / std::sqrt(ours * theirs);
    report(std::string(name) + " bf16 gradient, 1 - cosine", 1 - cosine);
    EXPECT_GT(cosine, 0.999);
    EXPECT_NEAR(std::sqrt(ours / theirs), 1.0, 0.02);
  }
}

}  // namespace
}  // namespace maskedkd::testing
