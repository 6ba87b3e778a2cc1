// The forward pass of CaiT ("Going deeper with Image Transformers", Touvron et al. 2021): patches alone attend to one
// another, their heads mixed before and after the softmax ("Talking-Heads Attention", Shazeer et al. 2020); then the
// class token, which enters here, attends to them in class blocks that leave the patches as they are.
#include "layers.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/ops/baddbmm.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/softmax.h>

namespace maskedkd {
namespace {

// [B, H, K, K] -> the same, each head a mixture of all. One product of H x H with K K columns an image, so that the
// heads need not be moved to the last dimension as for a linear layer.
at::Tensor talk(const at::Tensor& scores, const Affine& mixture, at::ScalarType dtype) {
  const at::Tensor columns = scores.to(dtype).flatten(2);  // [B, H, K K]
  const at::Tensor weight = mixture.weight.to(dtype).unsqueeze(0).expand({columns.size(0), -1, -1});
  return at::baddbmm(mixture.bias.to(dtype).view({1, -1, 1}), weight, columns).view(scores.sizes());
}

at::Tensor run_patch_block(const BlockParameters& block, std::size_t index, const at::Tensor& patches,
                           const VitOptions& options, const VitForward& how) {
  const at::Tensor qkv = linear(layer_norm(patches, block.norm1, how), block.qkv, how.compute_dtype);  // [B, K, 3 D]
  const std::vector<at::Tensor> parts = split_parts(qkv, 3, options.num_heads);                      // [B, H, K, D / H]
  at::Tensor attention = at::matmul(parts[0] * attention_scale(options), parts[1].transpose(2, 3));  // [B, H, K, K]
  attention = talk(attention, block.talk_before, how.compute_dtype);
  // As autocast has it: the softmax in float32, mixed again in the dtype of products.
  attention = talk(attention.to(at::kFloat).softmax(-1), block.talk_after, how.compute_dtype);
  return add_branches(block, index, patches, merge_heads(at::matmul(attention, parts[2])), options, how);
}

// token [B, 1, D], patches [B, K, D] -> token
at::Tensor run_class_block(const BlockParameters& block, const at::Tensor& token, const at::Tensor& patches,
                           const VitOptions& options, const VitForward& how, at::Tensor* class_attention) {
  const at::Tensor normed = layer_norm(at::cat({token, patches}, 1), block.norm1, how);  // [B, 1 + K, D]
  const auto heads = [&](const at::Tensor& tokens, const Affine& layer) {
    return split_heads(linear(tokens, layer, how.compute_dtype), options.num_heads);
  };
  const at::Tensor query = heads(normed.narrow(1, 0, 1), block.query);                  // [B, H, 1, D / H]
  const at::Tensor key = heads(normed, block.key), value = heads(normed, block.value);  // [B, H, 1 + K, D / H]
  const at::Tensor attention =
      (at::matmul(query, key.transpose(2, 3)).to(at::kFloat) * attention_scale(options)).softmax(-1);
  if (class_attention != nullptr) {
    *class_attention = attention.detach().narrow(3, 1, patches.size(1)).mean({1, 2});  // [B, K]
  }
  const at::Tensor attended = merge_heads(at::matmul(attention.to(how.compute_dtype), value));  // [B, 1, D]
  return add_branches(block, std::nullopt, token, attended, options, how);
}

}  // namespace

VitOutput forward_cait(const at::Tensor& images, const VitParameters& parameters, const VitOptions& options,
                       const VitForward& how) {
  VitOutput output;
  at::Tensor patches = embed_patches(images, parameters, options, how);  // [B, K, D]
  for (std::size_t block = 0; block < parameters.blocks.size(); ++block) {
    patches = cut_before(block, patches, how, output);
    patches = run_patch_block(parameters.blocks[block], block, patches, options, how);
  }
  at::Tensor token = parameters.class_token.expand({images.size(0), -1, -1});  // [B, 1, D]
  for (const BlockParameters& block : parameters.class_blocks) {
    const bool last = &block == &parameters.class_blocks.back();
    token = run_class_block(block, token, patches, options, how,
                            last && how.want_class_attention ? &output.class_attention : nullptr);
  }
  output.logits =
      linear(layer_norm(token, parameters.norm, how).select(1, 0), parameters.head, how.compute_dtype).to(at::kFloat);
  return output;
}

}  // namespace maskedkd
