#include "maskedkd/train/distillation_step.hpp"

#include "maskedkd/distill/loss.hpp"
#include "maskedkd/kernels/augment_images.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>

#include <algorithm>
#include <utility>

namespace maskedkd {
namespace {

// Keeps activations near the size of the caches, and memory below half of that of one pass (tests/bench/README.md).
constexpr std::int64_t kImagesPerSliceOnCpu = 16;

}  // namespace

// A micro-batch after all its random decisions have been applied.
struct DistillationStep::Inputs {
  at::Tensor images;             // [B, 3, S, S] float32, mixed
  at::Tensor targets;            // [B, C] float32
  at::Tensor drop_path_factors;  // [L, 2, B], undefined without drop path
  at::Tensor random_scores;      // [B, N], undefined unless the mask needs them
  at::Tensor seen_patches;       // [B, K]: all that the student sees; undefined: every patch
  std::int64_t epoch = 0;

  std::int64_t size() const { return images.size(0); }

  Inputs narrow(std::int64_t first, std::int64_t count) const {
    const auto part = [&](const at::Tensor& tensor, std::int64_t dimension) {
      return tensor.defined() ? tensor.narrow(dimension, first, count) : tensor;
    };
    return {part(images, 0),        part(targets, 0),      part(drop_path_factors, 2),
            part(random_scores, 0), part(seen_patches, 0), epoch};
  }
};

DistillationStep::DistillationStep(const TrainOptions& options, const FlatParameters& parameters,
                                   const Teacher* teacher)
    : options_(options),
      device_(parameters.values().device()),
      student_(options.student, parameters, scalar_type(options.precision)),
      teacher_(teacher),
      preparer_(device_),
      // With patch_drop nearly every micro-batch has another shape.
      work_(device_, options.cuda_graph && preparer_.input_device() == device_ && options.patch_drop == 0),
      gradient_(at::empty_like(parameters.values())),
      loss_(at::empty({}, parameters.values().options())) {
  if (teacher != nullptr) {
    view_.emplace(options.mask, options.schedule.epochs, options.student.grid_size(), teacher->options().grid_size());
  }
}

DistillationStep::Result DistillationStep::run(const DeviceBatch& input, const at::Tensor& loss_scale) {
  const MicroBatch& batch = input.batch;
  if (!work_.is_enabled()) {
    const at::Tensor pixels = batch.crops ? augmented_images(*batch.crops, device_) : at::Tensor();
    forward_and_backward(batch, input.bytes, pixels, loss_scale);
    return {loss_, gradient_};
  }
  const FixedInputs& fixed = fixed_inputs(batch);
  fixed.bytes.copy_(input.bytes, /*non_blocking=*/true);
  if (batch.crops) {
    augmented_images(*batch.crops, device_, fixed.pixels);
  }
  const std::int64_t epoch = batch.request.epoch;
  const RecordedWork::Kind kind = {&fixed - fixed_inputs_.data(), kept_patches(epoch)};
  work_.run(kind, [&] { forward_and_backward(batch, fixed.bytes, fixed.pixels, loss_scale); });
  return {loss_, gradient_};
}

DistillationStep::FixedInputs& DistillationStep::fixed_inputs(const MicroBatch& batch) {
  const StagedContents& contents = batch.staged.layout.contents;
  const auto found = std::find_if(fixed_inputs_.begin(), fixed_inputs_.end(),
                                  [&](const FixedInputs& fixed) { return fixed.contents == contents; });
  if (found != fixed_inputs_.end()) {
    return *found;
  }
  const at::TensorOptions bytes = at::TensorOptions(at::kByte).device(device_);
  FixedInputs fixed = {contents, at::empty({batch.staged.layout.num_bytes}, bytes), {}};
  if (batch.crops) {
    const std::int64_t size = options_.student.input_size;
    fixed.pixels = at::empty({contents.num_images, size, size, 3}, bytes);
  }
  return fixed_inputs_.emplace_back(std::move(fixed));
}

void DistillationStep::forward_and_backward(const MicroBatch& batch, const at::Tensor& bytes, const at::Tensor& pixels,
                                            const at::Tensor& loss_scale) {
  const Inputs inputs = prepare(batch, bytes, pixels);
  const std::int64_t slice = device_.is_cpu() ? kImagesPerSliceOnCpu : inputs.size();
  at::Tensor loss;
  for (std::int64_t first = 0; first < inputs.size(); first += slice) {
    const std::int64_t count = std::min(slice, inputs.size() - first);
    const double share = static_cast<double>(count) / static_cast<double>(inputs.size());
    const at::Tensor term = add_slice(inputs.narrow(first, count), share, loss_scale);
    loss = loss.defined() ? loss + term : term;
    student_.move_gradient(gradient_, /*adds=*/first > 0);
  }
  loss_.copy_(loss);
}

DistillationStep::Inputs DistillationStep::prepare(const MicroBatch& batch, const at::Tensor& bytes,
                                                   const at::Tensor& pixels) const {
  const StagedViews staged = batch.staged.layout.views(bytes);
  const std::int64_t size = options_.student.input_size, count = staged.labels.size(0);
  const at::TensorOptions floats = at::TensorOptions().dtype(at::kFloat).device(device_);
  // Without kernels for GPUs the staged bytes are still on the CPU.
  const auto moved = [&](const at::Tensor& tensor) {
    return tensor.defined() ? tensor.to(device_, /*non_blocking=*/true) : tensor;
  };
  Inputs inputs;
  inputs.images = at::empty({count, 3, size, size}, floats);
  inputs.targets = at::empty({count, options_.student.num_classes}, floats);
  preparer_.prepare({batch.crops ? pixels : staged.pixels, staged.erasures, staged.image_shares, staged.cut_boxes,
                     staged.labels, staged.target_shares},
                    options_.mixing.label_smoothing, inputs.images, inputs.targets);
  inputs.drop_path_factors = moved(staged.drop_path_factors);
  inputs.random_scores = moved(staged.random_scores);
  inputs.seen_patches = moved(staged.seen_patches);
  inputs.epoch = batch.request.epoch;
  return inputs;
}

at::Tensor DistillationStep::add_slice(const Inputs& inputs, double share, const at::Tensor& loss_scale) const {
  VitForward how;
  how.compute_dtype = scalar_type(options_.precision);
  how.drop_path_factors = inputs.drop_path_factors;
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

DecisionOptions DistillationStep::decisions() const {
  DecisionOptions decisions;
  decisions.mixing = options_.mixing;
  for (int block = 0; options_.drop_path_rate > 0 && block < options_.student.depth; ++block) {
    decisions.drop_path_rates.push_back(drop_path_rate_of(block, options_.student, options_.drop_path_rate));
  }
  if (view_) {
    decisions.num_scores = [view = *view_, patches = teacher_->options().num_patches()](std::uint32_t epoch) {
      return std::int64_t{view.needs_random_scores(epoch) ? patches : 0};
    };
  }
  decisions.patch_drop = options_.patch_drop;
  decisions.num_patches = options_.student.num_patches();
  return decisions;
}

}  // namespace maskedkd
