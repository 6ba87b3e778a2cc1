// Decides how many and which patches of each image the teacher sees in an epoch. Called by the distillation step and
// for pictures of masks. A new mask criterion is added to scores() and needs_...() here, to MaskCriterion and its names
// (distill/mask_options), and to the help of --mask-criterion (app/train_command.cpp). B images, K kept patches, N
// patches (s the student's, t the teacher's).
#pragma once

#include "maskedkd/distill/mask_options.hpp"

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>

namespace maskedkd {

// What the criteria choose by. Only what the current criterion uses has to be set.
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
  bool needs_student_attention(std::int64_t epoch) const;
  bool needs_random_scores(std::int64_t epoch) const;

  // [B, K] int64 in the teacher's grid, in no particular order, without gradient; undefined: all patches.
  at::Tensor choose(std::int64_t epoch, const PatchEvidence& evidence) const;

 private:
  bool is_masked(std::int64_t epoch) const;
  at::Tensor scores(const PatchEvidence& evidence) const;  // [B, Nt]: patches with higher scores are kept

  MaskOptions mask_;
  std::int64_t num_epochs_, student_grid_, teacher_grid_;
};

}  // namespace maskedkd
