// The frozen teacher: evaluation mode, no gradients, its matrix weights cast once, shown only the kept patches. It
// takes the student's own batch, augmented, mixed, erased and normalised; one that was trained at another size gets it
// resized (bicubic, antialiased) to the size that it was trained at. B images, S the student's input size, N
// the teacher's patches, K kept, C classes.
#pragma once

#include "maskedkd/model/vit.hpp"

#include <filesystem>
#include <string>
#include <vector>

namespace maskedkd {

class Teacher {
 public:
  // weights: a safetensors file with the model's parameters.
  // Throws what Vit::load throws.
  Teacher(const VitOptions& options, const std::filesystem::path& weights, at::Device device,
          at::ScalarType compute_dtype);

  const VitOptions& options() const noexcept { return model_.options(); }
  // What Vit::load() warns of, a line each.
  const std::vector<std::string>& warnings() const noexcept { return warnings_; }
  // The student's batch [B, 3, S, S] float32 as this teacher takes it, [B, 3, S', S']; the very same tensor where the
  // sizes are equal.
  at::Tensor fitted(const at::Tensor& images) const;
  // images as fitted() gives them, kept_patches [B, K] int64 (of the teacher's grid) or undefined for all ->
  // logits [B, C] float32 without gradient; a distilled teacher answers with the mean of its two heads, as DeiT
  // evaluates.
  at::Tensor logits(const at::Tensor& images, const at::Tensor& kept_patches) const;
  // images as above -> [B, N] float32: its own attention to the patches when it sees them all. Costs a full pass.
  at::Tensor class_attention(const at::Tensor& images) const;

 private:
  Vit model_;
  std::vector<std::string> warnings_;
  at::ScalarType compute_dtype_;
};

}  // namespace maskedkd
