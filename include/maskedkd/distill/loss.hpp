// L = (1 - alpha) CE + alpha KD on logits [B, C] float32; every value is a scalar, the mean over the batch.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>

namespace maskedkd {

enum class DistillationType { none, soft, hard };
DistillationType parse_distillation_type(const std::string& text);  // throws Error (usage) listing the names
std::string to_string(DistillationType type);

struct DistillationOptions {
  DistillationType type = DistillationType::soft;
  double alpha = 0.5;     // weight of the distillation term
  double tau = 1.0;       // temperature of soft distillation
  void validate() const;  // throws Error (usage)
};

// Cross entropy against soft targets [B, C].
at::Tensor soft_target_cross_entropy(const at::Tensor& logits, const at::Tensor& targets);

// Soft: tau^2 sum(p_t (log p_t - log p_s)) / B with p = softmax(z / tau) (Hinton et al. 2015, batchmean). Hard: cross
// entropy against the teacher's argmax (DeiT). No gradient flows to the teacher.
at::Tensor distillation_term(const at::Tensor& student_logits, const at::Tensor& teacher_logits,
                             const DistillationOptions& options);

// The whole loss. distillation_logits: the student's second head; undefined: the class logits learn from the teacher.
// teacher_logits: undefined with type none; then the mean of both heads learns from the labels, as in timm. (DeiT's
// code then leaves the second head untrained, but evaluates with it.)
at::Tensor distillation_loss(const at::Tensor& logits, const at::Tensor& distillation_logits, const at::Tensor& targets,
                             const at::Tensor& teacher_logits, const DistillationOptions& options);

}  // namespace maskedkd
