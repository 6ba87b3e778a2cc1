#include "maskedkd/distill/loss.hpp"

#include "maskedkd/base/enum_names.hpp"
#include "maskedkd/base/error.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/log_softmax.h>

#include <cmath>

namespace maskedkd {
namespace {

constexpr EnumNames<DistillationType, 3> kTypes = {
    {{"none", DistillationType::none}, {"soft", DistillationType::soft}, {"hard", DistillationType::hard}}};

}  // namespace

DistillationType parse_distillation_type(const std::string& text) {
  return parse_name(kTypes, text, "--distillation-type");
}

std::string to_string(DistillationType type) { return name_of(kTypes, type); }

void DistillationOptions::validate() const {
  if (!(alpha >= 0 && alpha <= 1)) {
    throw usage_error(fmt::format("--distillation-alpha {} must lie in [0, 1]", alpha));
  }
  if (!(tau > 0) || !std::isfinite(tau)) {
    throw usage_error(fmt::format("--distillation-tau {} must be above 0", tau));
  }
}

at::Tensor soft_target_cross_entropy(const at::Tensor& logits, const at::Tensor& targets) {
  return -(targets * logits.log_softmax(-1)).sum(-1).mean();
}

at::Tensor distillation_term(const at::Tensor& student_logits, const at::Tensor& teacher_logits,
                             const DistillationOptions& options) {
  const at::Tensor teacher = teacher_logits.detach();
  if (options.type == DistillationType::hard) {
    return at::cross_entropy_loss(student_logits, teacher.argmax(-1));
  }
  const at::Tensor teacher_log = (teacher / options.tau).log_softmax(-1);         // [B, C]
  const at::Tensor student_log = (student_logits / options.tau).log_softmax(-1);  // [B, C]
  return (teacher_log.exp() * (teacher_log - student_log)).sum() *
         (options.tau * options.tau / static_cast<double>(student_logits.size(0)));
}

at::Tensor distillation_loss(const at::Tensor& logits, const at::Tensor& distillation_logits, const at::Tensor& targets,
                             const at::Tensor& teacher_logits, const DistillationOptions& options) {
  const bool two_heads = distillation_logits.defined();
  if (options.type == DistillationType::none) {
    return soft_target_cross_entropy(two_heads ? (logits + distillation_logits) / 2 : logits, targets);
  }
  const at::Tensor& distilled = two_heads ? distillation_logits : logits;
  const at::Tensor labels_term = soft_target_cross_entropy(logits, targets);
  return labels_term * (1.0 - options.alpha) + distillation_term(distilled, teacher_logits, options) * options.alpha;
}

}  // namespace maskedkd
