// Selects the k patches of each image with the highest scores, which the teacher sees. The paper's score is the
// attention of the student's class token (MaskedKD, Son et al., ECCV 2024, section 3); mask_options.hpp lists the
// others. Where the teacher divides the image into another grid, the student's attention is resampled first. B images,
// N patches (s the student's, t the teacher's), K kept.
#pragma once

#include "maskedkd/distill/mask_options.hpp"

#include <ATen/core/Tensor.h>

namespace maskedkd {

struct VitOptions;

// scores [B, N] -> [B, K] int64, unordered within a row, without gradient. Throws Error (usage) unless 1 <= keep <= N.
at::Tensor select_patches(const at::Tensor& scores, std::int64_t keep);

// [B, Ns] on a square grid -> [B, Nt] on another grid over the same image: bilinear between the centres of patches,
// antialiased where the teacher's patches are larger. Returns the same tensor where the grids are equal.
at::Tensor resample_attention(const at::Tensor& attention, std::int64_t student_grid, std::int64_t teacher_grid);

// Throws Error (usage) where the numbers of classes differ, or the teacher has fewer patches than are to be kept.
void check_compatible(const VitOptions& student, const VitOptions& teacher, const MaskOptions& mask,
                      std::int64_t num_epochs);

}  // namespace maskedkd
