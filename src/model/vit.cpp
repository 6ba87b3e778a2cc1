// The forward pass of a ViT: DeiT, DeiT3, MAE. The last block is computed only for the tokens that the heads read.
#include "maskedkd/model/vit.hpp"

#include "layers.hpp"
#include "maskedkd/base/error.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/softmax.h>

namespace maskedkd {
namespace {

// Of [B, H, T, D / H] each. On a CPU the fused kernel is slow below fp32: with bf16, forward and backward over 197
// tokens take 2.7 times as long as with three operators. Their softmax computes in float32 and rounds once, to the
// dtype of the product with the values.
at::Tensor attend(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value, double scale) {
  if (!query.is_cpu() || query.scalar_type() == at::kFloat) {
    return at::scaled_dot_product_attention(query, key, value);
  }
  return at::matmul(at::matmul(query * scale, key.transpose(2, 3)).softmax(-1), value);
}

// [B, T + N or K, D]
at::Tensor embed(const at::Tensor& images, const VitParameters& parameters, const VitOptions& options,
                 const VitForward& how) {
  at::Tensor in_front = options.distilled ? at::cat({parameters.class_token, parameters.distillation_token}, 1)
                                          : parameters.class_token;  // [1, T, D]
  if (options.position_on_class_token) {
    in_front = in_front + parameters.position.narrow(1, 0, options.num_front_tokens());
  }
  return at::cat({in_front.expand({images.size(0), -1, -1}), embed_patches(images, parameters, options, how)}, 1);
}

// What the attention of a block makes of its normed tokens: [B, T + K, D].
at::Tensor attended(const BlockParameters& block, const at::Tensor& normed, const VitOptions& options,
                    const VitForward& how) {
  const at::Tensor qkv = linear(normed, block.qkv, how.compute_dtype);           // [B, T + K, 3 D]
  const std::vector<at::Tensor> parts = split_parts(qkv, 3, options.num_heads);  // of [B, H, T + K, D / H]
  return merge_heads(attend(parts[0], parts[1], parts[2], attention_scale(options)));
}

// The same for the Q tokens that the heads read, those in front or the patches: [B, Q, D].
at::Tensor attended_in_front(const BlockParameters& block, const at::Tensor& normed, std::int64_t first,
                             std::int64_t count, const VitOptions& options, const VitForward& how,
                             at::Tensor* class_attention) {
  const std::int64_t front = options.num_front_tokens(), width = options.width, heads = options.num_heads;
  const auto rows = [&](std::int64_t begin, std::int64_t length) {
    return Affine{block.qkv.weight.narrow(0, begin, length), block.qkv.bias.narrow(0, begin, length)};
  };
  const at::Tensor query =
      split_heads(linear(normed.narrow(1, first, count), rows(0, width), how.compute_dtype), heads);
  const at::Tensor key_value = linear(normed, rows(width, 2 * width), how.compute_dtype);  // [B, T + K, 2 D]
  const std::vector<at::Tensor> parts = split_parts(key_value, 2, heads);
  const at::Tensor &key = parts[0], &value = parts[1];  // [B, H, T + K, D / H]
  // [B, H, Q, T + K]; the softmax in float32, as autocast has it.
  const at::Tensor attention =
      (at::matmul(query, key.transpose(2, 3)).to(at::kFloat) * attention_scale(options)).softmax(-1);
  if (class_attention != nullptr) {
    const at::Tensor read = options.average_pool ? attention : attention.narrow(2, 0, 1);
    *class_attention = read.detach().narrow(3, front, read.size(3) - front).mean({1, 2});  // [B, K]
  }
  return merge_heads(at::matmul(attention.to(how.compute_dtype), value));
}

// tokens: [B, T + K, D] in front of a block, which begins with its norm.
NormedTokens run_block(const VitParameters& parameters, std::size_t index, const NormedTokens& in,
                       const VitOptions& options, const VitForward& how, VitOutput& output) {
  const BlockParameters& block = parameters.blocks[index];
  const Affine& next_norm = parameters.blocks[index + 1].norm1;
  const at::Tensor heads = attended(block, in.normed, options, how);
  const NormedTokens middle =
      add_and_norm(in.tokens, attention_branch(block, index, heads, options, how), block.norm2, how);
  const Branch mlp = mlp_branch(block, index, middle.normed, options, how);
  if (!is_cut_before(index + 1, how)) {
    return add_and_norm(middle.tokens, mlp, next_norm, how);
  }
  const at::Tensor tokens = cut_before(index + 1, add_branch(middle.tokens, mlp, how), how, output);
  return {tokens, layer_norm(tokens, next_norm, how)};
}

// Returns what the heads read of the Q tokens, normed: [B, Q, D], or with average_pool their mean: [B, 1, D].
at::Tensor run_last_block(const VitParameters& parameters, const NormedTokens& in, const VitOptions& options,
                          const VitForward& how, at::Tensor* class_attention) {
  const std::size_t index = parameters.blocks.size() - 1;
  const BlockParameters& block = parameters.blocks[index];
  const std::int64_t front = options.num_front_tokens();
  const std::int64_t first = options.average_pool ? front : 0;
  const std::int64_t count = options.average_pool ? in.tokens.size(1) - front : front;  // Q
  const at::Tensor heads = attended_in_front(block, in.normed, first, count, options, how, class_attention);
  const NormedTokens middle = add_and_norm(in.tokens.narrow(1, first, count),
                                           attention_branch(block, index, heads, options, how), block.norm2, how);
  const Branch mlp = mlp_branch(block, index, middle.normed, options, how);
  if (options.average_pool) {
    return layer_norm(add_branch(middle.tokens, mlp, how).mean(1, /*keepdim=*/true), parameters.norm, how);
  }
  return add_and_norm(middle.tokens, mlp, parameters.norm, how).normed;
}

}  // namespace

at::Tensor VitOutput::combined_logits() const {
  return distillation_logits.defined() ? (logits + distillation_logits) / 2 : logits;
}

double drop_path_rate_of(int block, const VitOptions& options, double rate) {
  if (options.uniform_drop_path || options.depth == 1) {
    return options.uniform_drop_path ? rate : 0.0;
  }
  return rate * static_cast<double>(block) / (options.depth - 1);
}

VitOutput Vit::forward(const at::Tensor& images, const VitForward& how) const {
  if (images.dim() != 4 || images.size(1) != 3 || images.size(2) != options_.input_size ||
      images.size(3) != options_.input_size) {
    throw Error(fmt::format("a model for 3 x {0} x {0} pixels was given images of another shape", options_.input_size));
  }
  const auto forward = options_.is_cait() ? forward_cait : forward_vit;
  return forward(images, *by_role_, options_, how);
}

VitOutput forward_vit(const at::Tensor& images, const VitParameters& parameters, const VitOptions& options,
                      const VitForward& how) {
  VitOutput output;
  const at::Tensor tokens = embed(images, parameters, options, how);  // [B, T + K, D]
  NormedTokens now = {tokens, layer_norm(tokens, parameters.blocks[0].norm1, how)};
  for (std::size_t block = 0; block + 1 < parameters.blocks.size(); ++block) {
    now = run_block(parameters, block, now, options, how, output);
  }
  const at::Tensor read =
      run_last_block(parameters, now, options, how, how.want_class_attention ? &output.class_attention : nullptr);
  output.logits = linear(read.select(1, 0), parameters.head, how.compute_dtype).to(at::kFloat);
  if (options.distilled) {
    output.distillation_logits =
        linear(read.select(1, 1), parameters.distillation_head, how.compute_dtype).to(at::kFloat);
  }
  return output;
}

}  // namespace maskedkd
