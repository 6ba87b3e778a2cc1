// What lies between the matrix products of a block: the sum of tokens and a branch, and LayerNorm in front of the next
// product. In one kernel where there is one (kernels/add_norm.hpp), else composed of LibTorch's operators.
//
// B images, T tokens, D width.
#pragma once

#include "maskedkd/model/vit.hpp"

#include <ATen/core/Tensor.h>

namespace maskedkd {

struct Affine {
  at::Tensor weight;
  at::Tensor bias;
};

struct Branch {
  at::Tensor values;   // [B, T, D] of how.compute_dtype
  at::Tensor scale;    // [D] float32, LayerScale; undefined: 1
  at::Tensor factors;  // [B] float32, drop path; undefined: 1
};

struct NormedTokens {
  at::Tensor tokens;  // [B, T, D] float32
  at::Tensor normed;  // [B, T, D] of how.compute_dtype
};

// tokens: [B, T, D] float32.
at::Tensor layer_norm(const at::Tensor& tokens, const Affine& norm, const VitForward& how);
at::Tensor add_branch(const at::Tensor& tokens, const Branch& branch, const VitForward& how);
NormedTokens add_and_norm(const at::Tensor& tokens, const Branch& branch, const Affine& norm, const VitForward& how);

}  // namespace maskedkd
