#include "residual.hpp"

#include "maskedkd/kernels/add_norm.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/layer_norm.h>
#include <torch/csrc/autograd/custom_function.h>

#include <optional>
#include <utility>
#include <vector>

namespace maskedkd {
namespace {

constexpr double kNormEpsilon = 1e-6;

AddNormInput input_of(const at::Tensor& tokens, const Branch& branch, const Affine& norm) {
  return {tokens.contiguous(), branch.values.defined() ? branch.values.contiguous() : at::Tensor(),
          branch.scale,        branch.factors.defined() ? branch.factors.contiguous() : at::Tensor(),
          norm.weight,         norm.bias};
}

// Returns the sum where there is a branch, and the normed sum where there is a norm.
class AddNormFunction : public torch::autograd::Function<AddNormFunction> {
 public:
  using Optional = std::optional<at::Tensor>;  // LibTorch takes no undefined tensors here

  static std::vector<at::Tensor> forward(torch::autograd::AutogradContext* context, const at::Tensor& tokens,
                                         const Optional& branch, const Optional& scale, const Optional& factors,
                                         const Optional& weight, const Optional& bias, at::ScalarType dtype) {
    const auto tensor = [](const Optional& optional) { return optional.value_or(at::Tensor()); };
    const AddNormInput input = {tokens, tensor(branch), tensor(scale), tensor(factors), tensor(weight), tensor(bias)};
    const AddNormOutput output = add_norm(input, kNormEpsilon, dtype, /*for_gradient=*/true);
    // The branch's values are needed for the gradient of its scale alone.
    context->save_for_backward({output.sum, scale ? input.branch : at::Tensor(), input.scale, input.factors,
                                input.weight, output.mean, output.inverse_deviation});
    context->saved_data["branch"] = branch.has_value();
    context->saved_data["dtype"] = static_cast<std::int64_t>(dtype);
    context->saved_data["parameters"] = (weight && weight->requires_grad()) || (scale && scale->requires_grad());
    context->set_materialize_grads(false);
    std::vector<at::Tensor> results;
    if (branch) {
      results.push_back(output.sum);
    }
    if (weight) {
      results.push_back(output.normed);
    }
    return results;
  }

  static std::vector<at::Tensor> backward(torch::autograd::AutogradContext* context, std::vector<at::Tensor> given) {
    const std::vector<at::Tensor> saved = context->get_saved_variables();
    const bool has_branch = context->saved_data["branch"].toBool();
    AddNormInput input;
    AddNormOutput output;
    output.sum = saved[0];
    input.branch = saved[1];
    input.scale = saved[2];
    input.factors = saved[3];
    input.weight = saved[4];
    output.mean = saved[5];
    output.inverse_deviation = saved[6];
    const bool has_norm = input.weight.defined();
    at::Tensor of_sum, of_normed;
    if (has_branch && given[0].defined()) {
      of_sum = given[0].contiguous();
    }
    if (has_norm && given.back().defined()) {
      of_normed = given.back().contiguous();
    }
    if (!of_sum.defined() && !of_normed.defined()) {
      return std::vector<at::Tensor>(7);
    }
    const auto dtype = static_cast<at::ScalarType>(context->saved_data["dtype"].toInt());
    const AddNormGradients gradients =
        add_norm_backward(input, output, {of_sum, of_normed}, has_branch ? std::optional(dtype) : std::nullopt,
                          context->saved_data["parameters"].toBool());
    return {gradients.tokens, gradients.branch, gradients.scale, at::Tensor(),
            gradients.weight, gradients.bias,   at::Tensor()};
  }
};

NormedTokens in_one_pass(const AddNormInput& input, const VitForward& how) {
  if (!at::GradMode::is_enabled()) {
    const AddNormOutput output = add_norm(input, kNormEpsilon, how.compute_dtype, /*for_gradient=*/false);
    return {output.sum, output.normed};
  }
  const auto optional = [](const at::Tensor& tensor) {
    return tensor.defined() ? std::optional(tensor) : std::nullopt;
  };
  const std::vector<at::Tensor> results =
      AddNormFunction::apply(input.tokens, optional(input.branch), optional(input.scale), optional(input.factors),
                             optional(input.weight), optional(input.bias), how.compute_dtype);
  return {input.branch.defined() ? results.front() : input.tokens,
          input.weight.defined() ? results.back() : at::Tensor()};
}

bool has_kernel(const at::Tensor& tokens, const VitForward& how) {
  return !how.reference_kernels && has_add_norm(tokens.device(), how.compute_dtype);
}

}  // namespace

at::Tensor layer_norm(const at::Tensor& tokens, const Affine& norm, const VitForward& how) {
  if (has_kernel(tokens, how)) {
    return in_one_pass(input_of(tokens, {}, norm), how).normed;
  }
  return at::layer_norm(tokens, {tokens.size(-1)}, norm.weight, norm.bias, kNormEpsilon).to(how.compute_dtype);
}

at::Tensor add_branch(const at::Tensor& tokens, const Branch& branch, const VitForward& how) {
  if (has_kernel(tokens, how)) {
    return in_one_pass(input_of(tokens, branch, {}), how).tokens;
  }
  at::Tensor values = branch.scale.defined() ? branch.values * branch.scale : branch.values;
  if (branch.factors.defined()) {
    values = values * branch.factors.view({-1, 1, 1});
  }
  return tokens + values;
}

NormedTokens add_and_norm(const at::Tensor& tokens, const Branch& branch, const Affine& norm, const VitForward& how) {
  if (has_kernel(tokens, how)) {
    return in_one_pass(input_of(tokens, branch, norm), how);
  }
  const at::Tensor sum = add_branch(tokens, branch, how);
  return {sum, layer_norm(sum, norm, how)};
}

}  // namespace maskedkd
