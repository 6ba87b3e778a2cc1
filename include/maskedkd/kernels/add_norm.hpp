// What lies between two matrix products of a transformer, in one pass over memory: a residual branch with its
// LayerScale and drop path is added to the tokens, and the LayerNorm of the sum (Ba, Kiros and Hinton 2016) is written
// in the dtype of the next product. On the CPU and, where this was built with nvcc, on a GPU. Called by the models'
// layers, which have the same as a composition of LibTorch's operators.
//
// B images, T tokens, D width.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

namespace maskedkd {

struct AddNormInput {
  at::Tensor tokens;        // [B, T, D] float32
  at::Tensor branch;        // [B, T, D] float32 or bfloat16; undefined: nothing is added
  at::Tensor scale;         // [D] float32 of the branch (LayerScale); undefined: 1
  at::Tensor factors;       // [B] float32 of the branch (drop path); undefined: 1
  at::Tensor weight, bias;  // [D] float32, of the norm; undefined: there is none
};

struct AddNormOutput {
  at::Tensor sum;     // [B, T, D] float32: tokens + branch * scale * factor; without a branch the tokens
  at::Tensor normed;  // [B, T, D] of the dtype; undefined without a norm
  at::Tensor mean, inverse_deviation;  // [B * T] float32, for the gradient: mean, and 1 / sqrt(variance + epsilon)
};

struct AddNormGradients {
  at::Tensor tokens;               // [B, T, D] float32
  at::Tensor branch;               // as the branch
  at::Tensor scale, weight, bias;  // [D] float32
};

// Whether add_norm() can compute on this device in this dtype of products.
bool has_add_norm(at::Device device, at::ScalarType dtype);

// dtype: of the matrix products, and of the branch. Contiguous tensors, on one device. for_gradient: whether mean and
// inverse_deviation are wanted. The same bits for any number of threads.
AddNormOutput add_norm(const AddNormInput& input, double epsilon, at::ScalarType dtype, bool for_gradient);

struct AddNormOutputGradients {
  at::Tensor sum;     // [B, T, D] float32
  at::Tensor normed;  // [B, T, D] of the dtype
};

// From the gradients of the outputs, of which one may be undefined: 0. Of the input only scale, factors and weight are
// read, and the branch where there is a scale; of the output all but `normed`. branch_dtype: nullopt: there was no
// branch. wants_parameters: whether the gradients of scale, weight and bias are wanted.
AddNormGradients add_norm_backward(const AddNormInput& input, const AddNormOutput& output,
                                   const AddNormOutputGradients& given, std::optional<at::ScalarType> branch_dtype,
                                   bool wants_parameters);

}  // namespace maskedkd
