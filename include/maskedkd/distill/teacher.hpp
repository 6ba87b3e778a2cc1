// The frozen teacher: evaluation mode, no gradients, its matrix weights cast once, shown only the kept patches.
#pragma once

#include "maskedkd/model/vit.hpp"

#include <filesystem>

namespace maskedkd {

class Teacher {
 public:
  // weights: a safetensors file with the model's parameters, or a checkpoint directory holding model.safetensors.
  Teacher(const VitOptions& options, const std::filesystem::path& weights, at::Device device,
          at::ScalarType compute_dtype);

  const VitOptions& options() const noexcept { return model_.options(); }
  // images [B, 3, S, S] float32, kept_patches [B, K] int64 or undefined for all -> logits [B, C] float32 without
  // gradient; a distilled teacher answers with the mean of its two heads, as DeiT evaluates.
  at::Tensor logits(const at::Tensor& images, const at::Tensor& kept_patches) const;

 private:
  Vit model_;
  at::ScalarType compute_dtype_;
};

}  // namespace maskedkd
