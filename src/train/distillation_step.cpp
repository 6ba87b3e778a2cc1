#include "maskedkd/train/distillation_step.hpp"

#include "maskedkd/base/philox.hpp"
#include "maskedkd/data/batch.hpp"
#include "maskedkd/data/mixing.hpp"
#include "maskedkd/distill/loss.hpp"
#include "maskedkd/distill/patch_selection.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>

#include <algorithm>
#include <cmath>

namespace maskedkd {
namespace {

// Keeps activations near the size of the caches, and memory below half of that of one pass (tests/bench/README.md).
constexpr std::int64_t kImagesPerSliceOnCpu = 16;

}  // namespace

// A micro-batch after all its random decisions have been applied.
struct DistillationStep::Inputs {
  at::Tensor images;              // [B, 3, S, S] float32, mixed
  at::Tensor targets;             // [B, C] float32
  at::Tensor drop_path_uniforms;  // [L, 2, B], undefined without drop path
  at::Tensor random_scores;       // [B, N], undefined unless the mask needs them
  at::Tensor seen_patches;        // [B, K]: all that the student sees; undefined: every patch
  std::int64_t epoch = 0;

  std::int64_t size() const { return images.size(0); }

  Inputs narrow(std::int64_t first, std::int64_t count) const {
    const auto part = [&](const at::Tensor& tensor, std::int64_t dimension) {
      return tensor.defined() ? tensor.narrow(dimension, first, count) : tensor;
    };
    return {part(images, 0),        part(targets, 0),      part(drop_path_uniforms, 2),
            part(random_scores, 0), part(seen_patches, 0), epoch};
  }
};

DistillationStep::DistillationStep(const TrainOptions& options, const FlatParameters& parameters,
                                   const Teacher* teacher)
    : options_(options),
      device_(parameters.values().device()),
      student_(options.student, parameters, scalar_type(options.precision)),
      teacher_(teacher),
      gradient_(at::empty_like(parameters.values())) {
  if (teacher != nullptr) {
    view_.emplace(options.mask, options.schedule.epochs, options.student.grid_size(), teacher->options().grid_size());
  }
}

DistillationStep::Result DistillationStep::run(const MicroBatch& batch, const at::Tensor& loss_scale) {
  const Inputs inputs = prepare(batch);
  const std::int64_t slice = device_.is_cpu() ? kImagesPerSliceOnCpu : inputs.size();
  at::Tensor loss;
  for (std::int64_t first = 0; first < inputs.size(); first += slice) {
    const std::int64_t count = std::min(slice, inputs.size() - first);
    const double share = static_cast<double>(count) / static_cast<double>(inputs.size());
    const at::Tensor term = forward_and_backward(inputs.narrow(first, count), share, loss_scale);
    loss = loss.defined() ? loss + term : term;
    student_.move_gradient(gradient_, /*adds=*/first > 0);
  }
  return {loss, gradient_};
}

DistillationStep::Inputs DistillationStep::prepare(const MicroBatch& batch) const {
  const auto size = static_cast<int>(batch.labels.size(0));
  const int pixels = options_.student.input_size;
  PhiloxStream mix_random(batch.request.address(RandomPurpose::mixing, options_.seed));
  const MixPlan mix = draw_mix_plan(mix_random, size, pixels, pixels, options_.mixing);
  Inputs inputs;
  inputs.images = apply_mix(normalised_images(batch, device_), mix);
  inputs.targets =
      mixed_targets(batch.labels.to(device_), mix, options_.student.num_classes, options_.mixing.label_smoothing);
  inputs.drop_path_uniforms = drop_path_uniforms(batch.request);
  inputs.epoch = batch.request.epoch;
  if (view_ && view_->needs_random_scores(inputs.epoch)) {
    PhiloxStream random(batch.request.address(RandomPurpose::patch_selection, options_.seed));
    inputs.random_scores = random_scores(size, teacher_->options().num_patches(), random).to(device_);
  }
  if (options_.patch_drop > 0) {
    inputs.seen_patches = seen_patches(batch.request).to(device_);
  }
  return inputs;
}

at::Tensor DistillationStep::forward_and_backward(const Inputs& inputs, double share,
                                                  const at::Tensor& loss_scale) const {
  VitForward how;
  how.compute_dtype = scalar_type(options_.precision);
  how.drop_path_rate = options_.drop_path_rate;
  how.drop_path_uniforms = inputs.drop_path_uniforms;
  how.kept_patches = inputs.seen_patches;
  how.want_class_attention = view_ && view_->needs_student_attention(inputs.epoch);
  const VitOutput student = student_.model().forward(inputs.images, how);

  at::Tensor teacher_logits;  // [B, C]
  if (teacher_ != nullptr) {
    const at::Tensor seen = teacher_->fitted(inputs.images);  // [B, 3, S', S']
    const at::Tensor kept = view_->choose(inputs.epoch, {student.class_attention, inputs.random_scores,
                                                         [&] { return teacher_->class_attention(seen); }});  // [B, K]
    teacher_logits = teacher_->logits(seen, kept);
  }
  at::Tensor loss = distillation_loss(student.logits, student.distillation_logits, inputs.targets, teacher_logits,
                                      options_.distillation);
  if (share != 1.0) {
    loss = loss * share;
  }
  (loss_scale.defined() ? loss * loss_scale : loss).backward();
  return loss.detach();
}

std::int64_t DistillationStep::kept_patches(std::int64_t epoch) const { return view_ ? view_->num_patches(epoch) : 0; }

at::Tensor DistillationStep::seen_patches(const BatchRequest& request) const {
  PhiloxStream random(request.address(RandomPurpose::patch_selection, options_.seed));
  const auto patches = static_cast<double>(options_.student.num_patches());
  // One number for the micro-batch, as its images form one tensor. At least one patch stays, as the share is below 1.
  const auto seen = static_cast<std::int64_t>(std::ceil(patches * (1 - options_.patch_drop * random.uniform())));
  const auto size = static_cast<std::int64_t>(request.indices.size());
  return select_patches(random_scores(size, options_.student.num_patches(), random), seen);
}

at::Tensor DistillationStep::drop_path_uniforms(const BatchRequest& request) const {
  if (options_.drop_path_rate == 0) {
    return {};
  }
  PhiloxStream random(request.address(RandomPurpose::drop_path, options_.seed));
  const auto size = static_cast<std::int64_t>(request.indices.size());
  const at::Tensor uniforms = at::empty({options_.student.depth, 2, size}, at::kFloat);
  float* values = uniforms.mutable_data_ptr<float>();
  for (std::int64_t i = 0; i < uniforms.numel(); ++i) {
    // 24 bits, so that rounding to float never gives 1.
    values[i] = static_cast<float>(random.next_word() >> 8) * 0x1p-24f;
  }
  return uniforms.to(device_);
}

}  // namespace maskedkd
