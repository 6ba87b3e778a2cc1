// What the teacher sees: the k patches of each image that the student's class token attends to most (MaskedKD, Son et
// al., ECCV 2024, section 3). B images, N patches, K kept.
#pragma once

#include <ATen/core/Tensor.h>

namespace maskedkd {

struct VitOptions;

// class_attention [B, N] -> [B, K] int64 on the same device, the order inside a row is of no meaning. 1 <= keep <= N;
// no gradient. Throws Error (usage) on a keep count outside.
at::Tensor select_patches(const at::Tensor& class_attention, std::int64_t keep);

// Refuses, in one line, a teacher whose patch grid or classes differ from the student's (Error, usage).
void check_compatible(const VitOptions& student, const VitOptions& teacher, std::int64_t keep);

}  // namespace maskedkd
