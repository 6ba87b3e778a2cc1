#include "layers.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/linear.h>

#include <algorithm>
#include <cmath>

namespace maskedkd {
namespace {

// [B], undefined where nothing is dropped
at::Tensor drop_path_factors(std::optional<std::size_t> block, int which, const VitOptions& options,
                             const VitForward& how) {
  if (!block || !how.drop_path_factors.defined() || drop_path_rate_of(static_cast<int>(*block), options, 1.0) == 0.0) {
    return {};
  }
  return how.drop_path_factors.select(0, static_cast<std::int64_t>(*block)).select(0, which);
}

}  // namespace

at::Tensor linear(const at::Tensor& input, const Affine& layer, at::ScalarType dtype) {
  return at::linear(input.to(dtype), layer.weight.to(dtype), layer.bias.to(dtype));
}

at::Tensor split_heads(const at::Tensor& tokens, std::int64_t heads) {
  return tokens.view({tokens.size(0), tokens.size(1), heads, tokens.size(2) / heads}).transpose(1, 2);
}

std::vector<at::Tensor> split_parts(const at::Tensor& tokens, std::int64_t parts, std::int64_t heads) {
  const std::int64_t width = tokens.size(2) / parts;
  std::vector<at::Tensor> result = tokens.view({tokens.size(0), tokens.size(1), parts, heads, width / heads}).unbind(2);
  for (at::Tensor& part : result) {
    part = part.transpose(1, 2);
  }
  return result;
}

at::Tensor merge_heads(const at::Tensor& tokens) {
  return tokens.transpose(1, 2).reshape({tokens.size(0), tokens.size(2), tokens.size(1) * tokens.size(3)});
}

double attention_scale(const VitOptions& options) {
  const std::int64_t head_width = options.width / options.num_heads;
  return 1.0 / std::sqrt(static_cast<double>(head_width));
}

at::Tensor embed_patches(const at::Tensor& images, const VitParameters& parameters, const VitOptions& options,
                         const VitForward& how) {
  const std::int64_t batch = images.size(0), grid = options.grid_size(), patch = options.patch_size;
  at::Tensor patches = images.view({batch, 3, grid, patch, grid, patch})
                           .permute({0, 2, 4, 1, 3, 5})
                           .reshape({batch, grid * grid, 3 * patch * patch});  // [B, N, 3 p p]
  const std::int64_t in_front = options.position_on_class_token ? options.num_front_tokens() : 0;
  at::Tensor position = parameters.position.narrow(1, in_front, grid * grid);  // [1, N, D]
  if (how.kept_patches.defined()) {
    patches = patches.gather(1, how.kept_patches.unsqueeze(2).expand({-1, -1, patches.size(2)}));  // [B, K, 3 p p]
    position = at::embedding(position.squeeze(0), how.kept_patches);                               // [B, K, D]
  }
  const Affine& embedding = parameters.patch_embedding;
  return linear(patches, {embedding.weight.view({options.width, -1}), embedding.bias}, how.compute_dtype) + position;
}

Branch attention_branch(const BlockParameters& block, std::optional<std::size_t> depth_index,
                        const at::Tensor& attended, const VitOptions& options, const VitForward& how) {
  return {linear(attended, block.projection, how.compute_dtype), block.scale1,
          drop_path_factors(depth_index, 0, options, how)};
}

Branch mlp_branch(const BlockParameters& block, std::optional<std::size_t> depth_index, const at::Tensor& normed,
                  const VitOptions& options, const VitForward& how) {
  const at::Tensor hidden = at::gelu(linear(normed, block.fc1, how.compute_dtype));
  return {linear(hidden, block.fc2, how.compute_dtype), block.scale2, drop_path_factors(depth_index, 1, options, how)};
}

at::Tensor add_branches(const BlockParameters& block, std::optional<std::size_t> depth_index, const at::Tensor& tokens,
                        const at::Tensor& attended, const VitOptions& options, const VitForward& how) {
  const NormedTokens middle =
      add_and_norm(tokens, attention_branch(block, depth_index, attended, options, how), block.norm2, how);
  return add_branch(middle.tokens, mlp_branch(block, depth_index, middle.normed, options, how), how);
}

bool is_cut_before(std::size_t index, const VitForward& how) {
  return std::find(how.cut_before.begin(), how.cut_before.end(), static_cast<int>(index)) != how.cut_before.end();
}

at::Tensor cut_before(std::size_t index, const at::Tensor& tokens, const VitForward& how, VitOutput& output) {
  if (!is_cut_before(index, how)) {
    return tokens;
  }
  output.cuts.push_back({tokens, tokens.detach().requires_grad_(true)});
  return output.cuts.back().leaf;
}

}  // namespace maskedkd
