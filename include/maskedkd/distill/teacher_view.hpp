// What the teacher sees of each image: how many patches in an epoch, and which. The one place that knows the mask
// criteria; the distillation step, the pictures of masks and the tests call it. A new criterion is added to
// MaskCriterion and to scores() here. B images, K kept patches, N patches (s the student's, t the teacher's).
#pragma once

#include "maskedkd/distill/mask_options.hpp"

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>

namespace maskedkd {

// What the criteria choose by. Only what the criterion asks for need be there.
struct PatchEvidence {
  at::Tensor student_attention;                   // [B, Ns]: of the class token in the student's last block
  at::Tensor random_scores;                       // [B, Nt]
  std::function<at::Tensor()> teacher_attention;  // -> [B, Nt]: costs a full pass of the teacher
};

class TeacherView {
 public:
  // Grids: patches along an edge of the image.
  TeacherView(const MaskOptions& mask, std::int64_t num_epochs, std::int64_t student_grid, std::int64_t teacher_grid);

  // Patches that the teacher sees in that epoch (from 0).
  std::int64_t num_patches(std::int64_t epoch) const;
  // What choose() takes in that epoch.
  bool needs_student_attention(std::int64_t epoch) const;
  bool needs_random_scores(std::int64_t epoch) const;

  // The patches that the teacher sees in that epoch, [B, K] int64 in its own grid, in no particular order; undefined:
  // all. Without gradient.
  at::Tensor choose(std::int64_t epoch, const PatchEvidence& evidence) const;

 private:
  bool is_masked(std::int64_t epoch) const;
  at::Tensor scores(const PatchEvidence& evidence) const;  // [B, Nt]: the higher, the sooner a patch is kept

  MaskOptions mask_;
  std::int64_t num_epochs_, student_grid_, teacher_grid_;
};

}  // namespace maskedkd
