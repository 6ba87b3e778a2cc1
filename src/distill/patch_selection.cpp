#include "maskedkd/distill/patch_selection.hpp"

#include "maskedkd/base/error.hpp"
#include "maskedkd/model/vit.hpp"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/_upsample_bilinear2d_aa.h>
#include <ATen/ops/topk.h>

namespace maskedkd {

at::Tensor select_patches(const at::Tensor& scores, std::int64_t keep) {
  const at::NoGradGuard no_grad;
  if (keep < 1 || keep > scores.size(1)) {
    throw usage_error(fmt::format("{} patches are outside 1..{}, the number of patches", keep, scores.size(1)));
  }
  return std::get<1>(scores.topk(keep, 1, /*largest=*/true, /*sorted=*/false));
}

at::Tensor resample_attention(const at::Tensor& attention, std::int64_t student_grid, std::int64_t teacher_grid) {
  if (student_grid == teacher_grid) {
    return attention;
  }
  const at::NoGradGuard no_grad;
  return at::_upsample_bilinear2d_aa(attention.reshape({-1, 1, student_grid, student_grid}),
                                     {teacher_grid, teacher_grid}, /*align_corners=*/false)
      .reshape({-1, teacher_grid * teacher_grid});
}

void check_compatible(const VitOptions& student, const VitOptions& teacher, const MaskOptions& mask,
                      std::int64_t num_epochs) {
  if (student.num_classes != teacher.num_classes) {
    throw usage_error(
        fmt::format("the student has {} classes, the teacher {}", student.num_classes, teacher.num_classes),
        "use a teacher with the same classes");
  }
  mask.kept_patches(0, num_epochs, teacher.num_patches());  // checks the last epoch as well
}

}  // namespace maskedkd
