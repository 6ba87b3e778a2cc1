#include "maskedkd/distill/teacher_view.hpp"

#include "maskedkd/distill/patch_selection.hpp"

#include <ATen/TensorOperators.h>

namespace maskedkd {

TeacherView::TeacherView(const MaskOptions& mask, std::int64_t num_epochs, std::int64_t student_grid,
                         std::int64_t teacher_grid)
    : mask_(mask), num_epochs_(num_epochs), student_grid_(student_grid), teacher_grid_(teacher_grid) {}

std::int64_t TeacherView::num_patches(std::int64_t epoch) const {
  return mask_.kept_patches(epoch, num_epochs_, teacher_grid_ * teacher_grid_);
}

bool TeacherView::is_masked(std::int64_t epoch) const { return num_patches(epoch) < teacher_grid_ * teacher_grid_; }

bool TeacherView::needs_student_attention(std::int64_t epoch) const {
  return is_masked(epoch) && uses_student_attention(mask_.criterion);
}

bool TeacherView::needs_random_scores(std::int64_t epoch) const {
  return is_masked(epoch) && mask_.criterion == MaskCriterion::random;
}

at::Tensor TeacherView::choose(std::int64_t epoch, const PatchEvidence& evidence) const {
  return is_masked(epoch) ? select_patches(scores(evidence), num_patches(epoch)) : at::Tensor();
}

at::Tensor TeacherView::scores(const PatchEvidence& evidence) const {
  switch (mask_.criterion) {
    case MaskCriterion::random:
      return evidence.random_scores;
    case MaskCriterion::teacher:
      return evidence.teacher_attention();
    case MaskCriterion::lowest:
      return -resample_attention(evidence.student_attention, student_grid_, teacher_grid_);
    case MaskCriterion::student:
    case MaskCriterion::all:  // never masked
      break;
  }
  return resample_attention(evidence.student_attention, student_grid_, teacher_grid_);
}

}  // namespace maskedkd
