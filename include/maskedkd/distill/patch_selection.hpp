// What the teacher sees: the k patches of each image with the highest scores. The paper's score is the attention of the
// student's class token (MaskedKD, Son et al., ECCV 2024, section 3); mask_options.hpp has the others. Where the
// teacher cuts the image into another grid, its patch p covers other pixels than the student's patch p, so the
// student's attention is resampled first. Called by the distillation step. B images, N patches (s student's, t
// teacher's), K kept.
#pragma once

#include "maskedkd/distill/mask_options.hpp"

#include <ATen/core/Tensor.h>

namespace maskedkd {

class PhiloxStream;
struct VitOptions;

// scores [B, N] -> [B, K] int64 on the same device, the order inside a row is of no meaning. 1 <= keep <= N; no
// gradient. Throws Error (usage) on a keep count outside.
at::Tensor select_patches(const at::Tensor& scores, std::int64_t keep);

// [B, N] float32 on the CPU: in each row the numbers 0 to N - 1 in an order of its own, all orders equally likely, so
// that the largest k are any k patches. A function of the stream alone.
at::Tensor random_scores(std::int64_t num_images, std::int64_t num_patches, PhiloxStream& random);

// [B, Ns] on a square grid -> [B, Nt] on another over the same image: bilinear between the centres of patches, averaged
// where the teacher's patches are larger (antialiased). The very same tensor where the grids are equal.
at::Tensor resample_attention(const at::Tensor& attention, std::int64_t student_grid, std::int64_t teacher_grid);

// Refuses, in one line, a teacher whose classes differ from the student's, or that has fewer patches than are to be
// kept in any of num_epochs (Error, usage). Its input and its patches may differ.
void check_compatible(const VitOptions& student, const VitOptions& teacher, const MaskOptions& mask,
                      std::int64_t num_epochs);

}  // namespace maskedkd
