// The frozen teacher: evaluation mode, no gradients, its weight matrices cast once, shown only the kept patches. Its
// input is the student's batch (augmented, mixed, erased, normalised), resized (bicubic, antialiased) to the teacher's
// size. B images, S the student's input size, S' the teacher's, N the teacher's patches, K kept, C classes.
#pragma once

#include "maskedkd/model/vit.hpp"

#include <filesystem>
#include <string>
#include <vector>

namespace maskedkd {

class Teacher {
 public:
  // weights: a safetensors file with the model's parameters. reference_kernels: as in VitForward. Throws what Vit::load
  // throws.
  Teacher(const VitOptions& options, const std::filesystem::path& weights, at::Device device,
          at::ScalarType compute_dtype, bool reference_kernels = false);

  const VitOptions& options() const noexcept { return model_.options(); }
  // The warnings of Vit::load(), one line each.
  const std::vector<std::string>& warnings() const noexcept { return warnings_; }
  // images [B, 3, S, S] float32 -> [B, 3, S', S']; the same tensor where the sizes are equal.
  at::Tensor fitted(const at::Tensor& images) const;
  // images: from fitted(). kept_patches: [B, K] int64 in the teacher's grid, or undefined for all. Returns logits [B,
  // C] float32 without gradient; those of a distilled teacher are the mean of its two heads, as in DeiT's evaluation.
  at::Tensor logits(const at::Tensor& images, const at::Tensor& kept_patches) const;
  // images: from fitted(). Returns [B, N] float32: its own attention to all patches. Costs a full pass.
  at::Tensor class_attention(const at::Tensor& images) const;

 private:
  Vit model_;
  std::vector<std::string> warnings_;
  VitForward how_;  // of a forward pass, without what it sees
};

}  // namespace maskedkd
