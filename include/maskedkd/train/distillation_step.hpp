// One micro-batch of MaskedKD: the student sees the whole image, the attention of its class token selects the patches
// (or another criterion of mask_options.hpp does), the teacher sees those, and the student learns from both. Called by
// the trainer for each micro-batch. B images, N the teacher's patches, P the student's parameters.
#pragma once

#include "maskedkd/data/loader.hpp"
#include "maskedkd/distill/teacher.hpp"
#include "maskedkd/distill/teacher_view.hpp"
#include "maskedkd/model/vit.hpp"
#include "maskedkd/train/compute_student.hpp"
#include "maskedkd/train/train_options.hpp"

#include <optional>

namespace maskedkd {

class DistillationStep {
 public:
  // parameters: the student's. teacher: nullptr with --distillation-type none. All outlive this.
  DistillationStep(const TrainOptions& options, const FlatParameters& parameters, const Teacher* teacher);

  // Takes over the values of the parameters: call it before each step.
  void read_weights() { student_.read_weights(); }

  struct Result {
    at::Tensor loss;      // scalar float32 on the device: the mean over the micro-batch
    at::Tensor gradient;  // [P] float32, of loss_scale * loss; the next run() overwrites it
  };
  // Forward and backward, queued on the device. loss_scale: scalar float32 on the device; undefined: 1. Every random
  // decision is a function of the request's address. On a CPU the student and the teacher process the mixed micro-batch
  // in slices whose size does not depend on the ranks, so the sum of the slices' gradients does not either.
  Result run(const MicroBatch& batch, const at::Tensor& loss_scale = {});

  // Patches that the teacher sees in that epoch; 0 without a teacher.
  std::int64_t kept_patches(std::int64_t epoch) const;

 private:
  struct Inputs;  // of a micro-batch, or of a slice of it

  Inputs prepare(const MicroBatch& batch) const;
  // The student collects the gradient of share * loss_scale * (mean loss over the inputs). Returns share * loss,
  // detached.
  at::Tensor forward_and_backward(const Inputs& inputs, double share, const at::Tensor& loss_scale) const;
  at::Tensor drop_path_uniforms(const BatchRequest& request) const;  // [L, 2, B]
  // [B, K] int64 on the CPU, with patch_drop: PatchDropout (Liu et al., WACV 2023) with a rate that is uniform between
  // 0 and patch_drop, so that the model learns to use any number of patches.
  at::Tensor seen_patches(const BatchRequest& request) const;

  const TrainOptions& options_;
  at::Device device_;
  ComputeStudent student_;
  const Teacher* teacher_;
  std::optional<TeacherView> view_;  // with a teacher
  at::Tensor gradient_;              // [P]
};

}  // namespace maskedkd
