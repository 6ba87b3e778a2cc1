// The forward pass. The last block is computed for the tokens in front only: nothing else of it reaches the heads.
#include "maskedkd/model/vit.hpp"

#include "maskedkd/base/error.hpp"
#include "vit_handles.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/softmax.h>

#include <cmath>

namespace maskedkd {
namespace {

constexpr double kNormEpsilon = 1e-6;

at::Tensor linear(const at::Tensor& input, const Affine& layer, at::ScalarType dtype) {
  return at::linear(input.to(dtype), layer.weight.to(dtype), layer.bias.to(dtype));
}

at::Tensor layer_norm(const at::Tensor& input, const Affine& layer) {
  return at::layer_norm(input, {input.size(-1)}, layer.weight, layer.bias, kNormEpsilon);
}

// [B, T, D] -> [B, H, T, D / H]
at::Tensor split_heads(const at::Tensor& tokens, std::int64_t heads) {
  return tokens.view({tokens.size(0), tokens.size(1), heads, tokens.size(2) / heads}).transpose(1, 2);
}

// [B, H, T, D / H] -> [B, T, D]
at::Tensor merge_heads(const at::Tensor& tokens) {
  return tokens.transpose(1, 2).reshape({tokens.size(0), tokens.size(2), tokens.size(1) * tokens.size(3)});
}

// Of [B, H, T, D / H] each. On a CPU the fused kernel is slow below fp32: with bf16, forward and backward over 197
// tokens take it 2.7 times as long as three operators do. Their softmax computes in float32 and rounds once, to what
// the product with the values takes.
at::Tensor attend(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value) {
  if (!query.is_cpu() || query.scalar_type() == at::kFloat) {
    return at::scaled_dot_product_attention(query, key, value);
  }
  const double scale = 1.0 / std::sqrt(static_cast<double>(query.size(-1)));
  return at::matmul(at::matmul(query * scale, key.transpose(2, 3)).softmax(-1), value);
}

double drop_path_rate_of(std::size_t block, const VitOptions& options, const VitForward& how) {
  if (options.uniform_drop_path || options.depth == 1) {
    return options.uniform_drop_path ? how.drop_path_rate : 0.0;
  }
  return how.drop_path_rate * static_cast<double>(block) / (options.depth - 1);
}

// x / keep * floor(keep + U), one U a sample (Huang et al. 2016).
at::Tensor drop_path(const at::Tensor& branch, std::size_t block, int which, const VitOptions& options,
                     const VitForward& how) {
  const double rate = how.drop_path_uniforms.defined() ? drop_path_rate_of(block, options, how) : 0.0;
  if (rate == 0.0) {
    return branch;
  }
  const double keep = 1.0 - rate;
  const at::Tensor uniforms =
      how.drop_path_uniforms.select(0, static_cast<std::int64_t>(block)).select(0, which);  // [B]
  return branch * ((uniforms + keep).floor() / keep).view({-1, 1, 1});
}

}  // namespace

at::Tensor VitOutput::answer() const {
  return distillation_logits.defined() ? (logits + distillation_logits) / 2 : logits;
}

VitOutput Vit::forward(const at::Tensor& images, const VitForward& how) const {
  if (images.dim() != 4 || images.size(1) != 3 || images.size(2) != options_.input_size ||
      images.size(3) != options_.input_size) {
    throw Error(fmt::format("a model for 3 x {0} x {0} pixels was given images of another shape", options_.input_size));
  }
  VitOutput output;
  at::Tensor tokens = embed(images, how);  // [B, T + K, D]
  const std::size_t last = handles_->blocks.size() - 1;
  for (std::size_t block = 0; block < last; ++block) {
    tokens = run_block(block, tokens, how);
  }
  tokens = run_last_block(tokens, how, how.want_class_attention ? &output.class_attention : nullptr);  // [B, T, D]
  tokens = layer_norm(tokens, handles_->norm);
  output.logits = linear(tokens.select(1, 0), handles_->head, how.compute_dtype).to(at::kFloat);
  if (options_.distilled) {
    output.distillation_logits =
        linear(tokens.select(1, 1), handles_->distillation_head, how.compute_dtype).to(at::kFloat);
  }
  return output;
}

// The embedding of a patch depends on that patch alone: patches that are not kept are never embedded.
at::Tensor Vit::embed(const at::Tensor& images, const VitForward& how) const {
  const std::int64_t batch = images.size(0), grid = options_.grid_size(), patch = options_.patch_size;
  const std::int64_t front = options_.num_front_tokens(), width = options_.width;
  const bool positions_in_front = options_.position_on_class_token;
  at::Tensor patches = images.view({batch, 3, grid, patch, grid, patch})
                           .permute({0, 2, 4, 1, 3, 5})
                           .reshape({batch, grid * grid, 3 * patch * patch});                       // [B, N, 3 p p]
  at::Tensor position = handles_->position.narrow(1, positions_in_front ? front : 0, grid * grid);  // [1, N, D]
  if (how.kept_patches.defined()) {
    patches = patches.gather(1, how.kept_patches.unsqueeze(2).expand({-1, -1, patches.size(2)}));  // [B, K, 3 p p]
    position = at::embedding(position.squeeze(0), how.kept_patches);                               // [B, K, D]
  }
  const Affine& embedding = handles_->patch_embedding;
  const at::Tensor embedded =
      linear(patches, {embedding.weight.view({width, -1}), embedding.bias}, how.compute_dtype) + position;
  at::Tensor in_front = options_.distilled ? at::cat({handles_->class_token, handles_->distillation_token}, 1)
                                           : handles_->class_token;  // [1, T, D]
  if (positions_in_front) {
    in_front = in_front + handles_->position.narrow(1, 0, front);
  }
  return at::cat({in_front.expand({batch, -1, -1}), embedded}, 1);
}

at::Tensor Vit::run_block(std::size_t index, const at::Tensor& tokens, const VitForward& how) const {
  const Handles::Block& block = handles_->blocks[index];
  const at::Tensor qkv = linear(layer_norm(tokens, block.norm1), block.qkv, how.compute_dtype);  // [B, T, 3 D]
  const auto part = [&](std::int64_t which) {
    return split_heads(qkv.narrow(2, which * options_.width, options_.width), options_.num_heads);
  };
  const at::Tensor attended = attend(part(0), part(1), part(2));  // [B, H, T, D / H]
  return add_branches(index, tokens, merge_heads(attended), how);
}

at::Tensor Vit::run_last_block(const at::Tensor& tokens, const VitForward& how, at::Tensor* class_attention) const {
  const std::size_t index = handles_->blocks.size() - 1;
  const Handles::Block& block = handles_->blocks[index];
  const std::int64_t front = options_.num_front_tokens(), width = options_.width, heads = options_.num_heads;
  const at::Tensor normed = layer_norm(tokens, block.norm1);
  const auto rows = [&](std::int64_t begin, std::int64_t length) {
    return Affine{block.qkv.weight.narrow(0, begin, length), block.qkv.bias.narrow(0, begin, length)};
  };
  const at::Tensor query = split_heads(linear(normed.narrow(1, 0, front), rows(0, width), how.compute_dtype), heads);
  const at::Tensor key_value = linear(normed, rows(width, 2 * width), how.compute_dtype);  // [B, T + K, 2 D]
  const at::Tensor key = split_heads(key_value.narrow(2, 0, width), heads);
  const at::Tensor value = split_heads(key_value.narrow(2, width, width), heads);
  const double scale = 1.0 / std::sqrt(static_cast<double>(width / heads));
  // [B, H, T, T + K]; the softmax in float32, as autocast has it.
  const at::Tensor attention = (at::matmul(query, key.transpose(2, 3)).to(at::kFloat) * scale).softmax(-1);
  if (class_attention != nullptr) {
    const at::Tensor row = attention.detach().select(2, 0);  // [B, H, T + K]
    *class_attention = row.narrow(2, front, row.size(2) - front).mean(1);
  }
  const at::Tensor attended = merge_heads(at::matmul(attention.to(how.compute_dtype), value));
  return add_branches(index, tokens.narrow(1, 0, front), attended, how);
}

at::Tensor Vit::add_branches(std::size_t index, at::Tensor tokens, const at::Tensor& attended,
                             const VitForward& how) const {
  const Handles::Block& block = handles_->blocks[index];
  const auto scaled = [](const at::Tensor& branch, const at::Tensor& scale) {
    return scale.defined() ? branch * scale : branch;
  };
  at::Tensor branch = linear(attended, block.projection, how.compute_dtype);
  tokens = tokens + drop_path(scaled(branch, block.scale1), index, 0, options_, how);
  branch = at::gelu(linear(layer_norm(tokens, block.norm2), block.fc1, how.compute_dtype));
  branch = linear(branch, block.fc2, how.compute_dtype);
  return tokens + drop_path(scaled(branch, block.scale2), index, 1, options_, how);
}

}  // namespace maskedkd
