// Inputs of add_norm() in every combination, and what it makes of them.
#pragma once

#include "maskedkd/kernels/add_norm.hpp"

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <fmt/format.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace maskedkd::testing {

constexpr double kEpsilon = 1e-6;

struct AddNormShape {
  std::int64_t images, tokens, width;
};

struct AddNormCase {
  AddNormShape shape;
  bool branch, scale, factors, norm;
  bool sum_gradient = true, normed_gradient = true;

  std::string name() const {
    return fmt::format("{}x{}x{}{}{}{}{}{}{}", shape.images, shape.tokens, shape.width, branch ? " branch" : "",
                       scale ? " scale" : "", factors ? " factors" : "", norm ? " norm" : "",
                       sum_gradient ? "" : " without gradient of the sum",
                       normed_gradient ? "" : " without gradient of the norm");
  }
};

inline std::vector<AddNormCase> add_norm_cases() {
  std::vector<AddNormCase> all;
  for (const AddNormShape& shape :
       {AddNormShape{2, 5, 192}, {3, 17, 33}, {1, 1, 7}, {2, 50, 1}, {4, 1, 384}, {1, 31, 16}}) {
    for (const bool scale : {false, true}) {
      for (const bool factors : {false, true}) {
        all.push_back({shape, true, scale, factors, true});
        all.push_back({shape, true, scale, factors, false});
        all.push_back({shape, true, scale, factors, true, false, true});
        all.push_back({shape, true, scale, factors, true, true, false});
      }
    }
    all.push_back({shape, false, false, false, true, false, true});
  }
  return all;
}

// What add_norm() computes and what autograd makes of it, in the dtypes of its arguments.
struct AddNormResults {
  at::Tensor sum, normed, tokens, branch, scale, weight, bias;

  std::vector<std::pair<const char*, at::Tensor>> named() const {
    return {{"sum", sum},
            {"normed", normed},
            {"gradient of tokens", tokens},
            {"gradient of the branch", branch},
            {"gradient of the scale", scale},
            {"gradient of the weight", weight},
            {"gradient of the bias", bias}};
  }
};

inline AddNormInput random_input(const AddNormCase& test, at::ScalarType dtype) {
  const auto [images, tokens, width] = test.shape;
  AddNormInput input;
  input.tokens = at::randn({images, tokens, width}) * 3 + 1;
  if (test.branch) {
    input.branch = at::randn({images, tokens, width}).to(dtype);
    input.scale = test.scale ? at::randn({width}) : at::Tensor();
    input.factors = test.factors ? at::rand({images}).gt(0.4).to(at::kFloat) / 0.6 : at::Tensor();
  }
  if (test.norm) {
    input.weight = at::randn({width});
    input.bias = at::randn({width});
  }
  return input;
}

inline AddNormOutputGradients random_gradients(const AddNormCase& test, at::ScalarType dtype) {
  const std::vector<std::int64_t> shape = {test.shape.images, test.shape.tokens, test.shape.width};
  AddNormOutputGradients gradients;
  gradients.sum = test.sum_gradient ? at::randn(shape) : at::Tensor();
  gradients.normed = test.norm && test.normed_gradient ? at::randn(shape).to(dtype) : at::Tensor();
  return gradients;
}

inline AddNormResults computed(const AddNormInput& input, const AddNormOutputGradients& gradients,
                               at::ScalarType dtype) {
  const AddNormOutput output = add_norm(input, kEpsilon, dtype, /*for_gradient=*/true);
  const AddNormGradients found =
      add_norm_backward(input, output, gradients, input.branch.defined() ? std::optional(dtype) : std::nullopt,
                        /*wants_parameters=*/true);
  return {output.sum, output.normed, found.tokens, found.branch, found.scale, found.weight, found.bias};
}

}  // namespace maskedkd::testing
