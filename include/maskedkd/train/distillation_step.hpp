// One micro-batch of MaskedKD: the student sees the whole image, the attention of its class token selects the patches
// (or another criterion of mask_options.hpp does), the teacher sees those, and the student learns from both. Called by
// the trainer for each micro-batch. B images, N the teacher's patches, P the student's parameters.
#pragma once

#include "maskedkd/data/loader.hpp"
#include "maskedkd/distill/teacher.hpp"
#include "maskedkd/distill/teacher_view.hpp"
#include "maskedkd/kernels/prepare_batch.hpp"
#include "maskedkd/model/vit.hpp"
#include "maskedkd/train/batch_feed.hpp"
#include "maskedkd/train/compute_student.hpp"
#include "maskedkd/train/recorded_work.hpp"
#include "maskedkd/train/train_options.hpp"

#include <cstdint>
#include <functional>
#include <optional>
#include <utility>
#include <vector>

namespace maskedkd {

class DistillationStep {
 public:
  // parameters: the student's. teacher: nullptr with --distillation-type none. All outlive this.
  DistillationStep(const TrainOptions& options, const FlatParameters& parameters, const Teacher* teacher);

  // Takes over the values of the parameters: call it before each step.
  void read_weights() { student_.read_weights(); }

  struct Result {
    at::Tensor loss;      // scalar float32 on the device: the mean over the micro-batch
    at::Tensor gradient;  // [P] float32, of loss_scale * loss
  };
  // Gets a part of the gradient [P] and where it begins there.
  using OnPart = std::function<void(std::int64_t begin, const at::Tensor& part)>;
  // Forward and backward, queued on the device; the next run() overwrites the result. input: with the decisions of
  // decisions(), the bytes on input_device(). loss_scale: scalar float32 on the device, always the same memory;
  // undefined: 1. On a CPU the student and the teacher process the mixed micro-batch in slices whose size does not
  // depend on the ranks, so the sum of the slices' gradients does not either. on_part: gets each part of the gradient
  // when the work that computes it is queued, those of the late blocks first, together the whole; so work that reads
  // them can be executed beside the rest of the backward pass.
  Result run(const DeviceBatch& input, const at::Tensor& loss_scale = {}, const OnPart& on_part = {});

  // Gives back the memory of recorded work, as before an evaluation; the next micro-batches take a little longer.
  void forget_recordings() { work_.forget(); }

  // Where the bytes of a micro-batch are read: the device, but the CPU where there are no kernels for GPUs.
  at::Device input_device() const { return preparer_.input_device(); }

  // What the loader has to draw for each micro-batch.
  DecisionOptions decisions() const;

  // Patches that the teacher sees in that epoch; 0 without a teacher.
  std::int64_t kept_patches(std::int64_t epoch) const;

 private:
  struct Inputs;  // of a micro-batch, or of a slice of it

  // What a recording of the work reads: memory that stays the same, filled for each micro-batch.
  struct FixedInputs {
    StagedContents contents;
    at::Tensor bytes;   // staged
    at::Tensor pixels;  // [B, S, S, 3] uint8, where they are made on the GPU
  };
  FixedInputs& fixed_inputs(const MicroBatch& batch);

  // A part of the gradient, complete when the backward pass has gone through that block.
  struct Part {
    int block = 0;
    std::vector<std::pair<std::int64_t, std::int64_t>> ranges;  // [begin, end) in [P]
  };
  std::vector<Part> parts_of(const FlatParameters& parameters) const;

  // Up to the first of the parts; the cuts take the backward pass on to the others.
  void forward_and_backward(const MicroBatch& batch, const at::Tensor& bytes, const at::Tensor& pixels,
                            const at::Tensor& loss_scale, const std::vector<Part>& parts,
                            std::vector<VitOutput::Cut>& cuts);
  void move_gradient(const Part& part, bool adds);
  std::int64_t images_per_slice(std::int64_t images) const;
  Inputs prepare(const MicroBatch& batch, const at::Tensor& bytes, const at::Tensor& pixels) const;
  // The student collects the gradient of share * loss_scale * (mean loss over the inputs), down to the first of the
  // cuts, which are before the blocks of all parts but the last. Returns share * loss, detached.
  at::Tensor add_slice(const Inputs& inputs, double share, const at::Tensor& loss_scale, const std::vector<Part>& parts,
                       std::vector<VitOutput::Cut>& cuts) const;

  const TrainOptions& options_;
  at::Device device_;
  ComputeStudent student_;
  const Teacher* teacher_;
  std::optional<TeacherView> view_;  // with a teacher
  BatchPreparer preparer_;
  RecordedWork work_;
  std::vector<FixedInputs> fixed_inputs_;
  std::int64_t recorded_patches_ = 0;  // kept_patches() of what work_ has recorded
  std::vector<Part> whole_, parts_;    // the gradient as one part, and as several
  at::Tensor gradient_, loss_;         // [P], scalar
};

}  // namespace maskedkd
