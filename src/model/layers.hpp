// The layers of which the forward passes of a ViT and a CaiT are made, and the parameters by role, so that nothing is
// looked up by name. The tensors are those of the model's named list.
#pragma once

#include "maskedkd/model/vit.hpp"
#include "residual.hpp"

#include <ATen/core/Tensor.h>

#include <optional>
#include <vector>

namespace maskedkd {

struct BlockParameters {
  Affine norm1, qkv;
  Affine query, key, value;        // of a class block, instead of qkv
  Affine talk_before, talk_after;  // [H, H] and [H], of CaiT's patch blocks: before and after the softmax
  Affine projection, norm2, fc1, fc2;
  at::Tensor scale1, scale2;  // [D], undefined without LayerScale
};

struct VitParameters {
  at::Tensor class_token, distillation_token, position;
  Affine patch_embedding, norm, head, distillation_head;  // norm: fc_norm with average_pool
  std::vector<BlockParameters> blocks;
  std::vector<BlockParameters> class_blocks;
};

// Matrix product in `dtype` with the bias.
at::Tensor linear(const at::Tensor& input, const Affine& layer, at::ScalarType dtype);
// [B, T, D] -> [B, H, T, D / H] and back
at::Tensor split_heads(const at::Tensor& tokens, std::int64_t heads);
at::Tensor merge_heads(const at::Tensor& tokens);
// [B, T, n D], such as queries, keys and values side by side -> n of [B, H, T, D / H]. Its backward writes one
// gradient, where that of n slices would fill n with zeros and add them.
std::vector<at::Tensor> split_parts(const at::Tensor& tokens, std::int64_t parts, std::int64_t heads);
// 1 / sqrt(D / H)
double attention_scale(const VitOptions& options);

// Patches with their positions, the kept ones where `how` says so: [B, N or K, D]. The embedding of a patch depends on
// that patch alone: those that are not kept are never embedded.
at::Tensor embed_patches(const at::Tensor& images, const VitParameters& parameters, const VitOptions& options,
                         const VitForward& how);

// The branches of a block, from what its attention or its MLP takes in. depth_index: the block's index among those with
// drop path, from 0; nullopt: a block without.
Branch attention_branch(const BlockParameters& block, std::optional<std::size_t> depth_index,
                        const at::Tensor& attended, const VitOptions& options, const VitForward& how);
Branch mlp_branch(const BlockParameters& block, std::optional<std::size_t> depth_index, const at::Tensor& normed,
                  const VitOptions& options, const VitForward& how);
// Adds both branches to tokens [B, T, D].
at::Tensor add_branches(const BlockParameters& block, std::optional<std::size_t> depth_index, const at::Tensor& tokens,
                        const at::Tensor& attended, const VitOptions& options, const VitForward& how);

// Whether the backward pass is cut before block `index`.
bool is_cut_before(std::size_t index, const VitForward& how);
// The tokens with which block `index` is to begin: a new leaf of the backward pass where it is cut there.
at::Tensor cut_before(std::size_t index, const at::Tensor& tokens, const VitForward& how, VitOutput& output);

VitOutput forward_vit(const at::Tensor& images, const VitParameters& parameters, const VitOptions& options,
                      const VitForward& how);
VitOutput forward_cait(const at::Tensor& images, const VitParameters& parameters, const VitOptions& options,
                       const VitForward& how);

}  // namespace maskedkd
