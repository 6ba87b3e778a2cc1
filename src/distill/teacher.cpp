#include "maskedkd/distill/teacher.hpp"

#include "maskedkd/base/error.hpp"
#include "maskedkd/io/safetensors.hpp"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/_upsample_bicubic2d_aa.h>

namespace maskedkd {

Teacher::Teacher(const VitOptions& options, const std::filesystem::path& weights, at::Device device,
                 at::ScalarType compute_dtype, bool reference_kernels)
    : model_(options) {
  how_.compute_dtype = compute_dtype;
  how_.reference_kernels = reference_kernels;
  warnings_ = model_.load(read_safetensors(weights).tensors, weights.string());
  model_.cast_matrix_weights(compute_dtype);
  model_.to_device(device);
}

at::Tensor Teacher::logits(const at::Tensor& images, const at::Tensor& kept_patches) const {
  const at::NoGradGuard no_grad;
  VitForward how = how_;
  how.kept_patches = kept_patches;
  return model_.forward(images, how).combined_logits();
}

at::Tensor Teacher::class_attention(const at::Tensor& images) const {
  const at::NoGradGuard no_grad;
  VitForward how = how_;
  how.want_class_attention = true;
  return model_.forward(images, how).class_attention;
}

at::Tensor Teacher::fitted(const at::Tensor& images) const {
  const std::int64_t size = options().input_size;
  if (images.size(2) == size && images.size(3) == size) {
    return images;
  }
  return at::_upsample_bicubic2d_aa(images, {size, size}, /*align_corners=*/false);
}

}  // namespace maskedkd
