#include "maskedkd/distill/patch_selection.hpp"

#include "maskedkd/base/error.hpp"
#include "maskedkd/model/vit.hpp"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/topk.h>

namespace maskedkd {
namespace {

void check_keep(std::int64_t keep, std::int64_t patches) {
  if (keep < 1 || keep > patches) {
    throw usage_error(fmt::format("--keep {} is outside 1..{}, the patches of the student", keep, patches));
  }
}

}  // namespace

at::Tensor select_patches(const at::Tensor& class_attention, std::int64_t keep) {
  const at::NoGradGuard no_grad;
  check_keep(keep, class_attention.size(1));
  return std::get<1>(class_attention.topk(keep, 1, /*largest=*/true, /*sorted=*/false));
}

void check_compatible(const VitOptions& student, const VitOptions& teacher, std::int64_t keep) {
  if (student.num_classes != teacher.num_classes) {
    throw usage_error(
        fmt::format("the student has {} classes, the teacher {}", student.num_classes, teacher.num_classes),
        "take a teacher of the same classes");
  }
  if (student.input_size != teacher.input_size || student.patch_size != teacher.patch_size) {
    throw usage_error(
        fmt::format(
            "the student cuts {0} x {0} pixels into {1} x {1} patches, the teacher {2} x {2} pixels into {3} x {3}",
            student.input_size, student.grid_size(), teacher.input_size, teacher.grid_size()),
        "take a teacher of the student's input size and patch size");
  }
  check_keep(keep, student.num_patches());
}

}  // namespace maskedkd
