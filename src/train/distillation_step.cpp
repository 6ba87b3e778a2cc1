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
      whole_({{0, {{0, parameters.size()}}}}),
      parts_(parts_of(parameters)),
      gradient_(at::empty_like(parameters.values())),
      loss_(at::empty({}, parameters.values().options())) {
  if (teacher != nullptr) {
    view_.emplace(options.mask, options.schedule.epochs, options.student.grid_size(), teacher->options().grid_size());
  }
}

// The ends of the backward pass are short, so that little is left to do with a part when it has ended.
std::vector<DistillationStep::Part> DistillationStep::parts_of(const FlatParameters& parameters) const {
  std::vector<Part> parts;
  std::int64_t end = parameters.num_decayed();
  for (const int block : {options_.student.depth / 2, options_.student.depth / 6}) {
    if (block > 0) {
      parts.push_back({block, {{parameters.begin_of_block(block), end}}});
      end = parameters.begin_of_block(block);
    }
  }
  parts.push_back({0, {{0, end}, {parameters.num_decayed(), parameters.size()}}});
  return parts;
}

DistillationStep::Result DistillationStep::run(const DeviceBatch& input, const at::Tensor& loss_scale,
                                               const OnPart& on_part) {
  const MicroBatch& batch = input.batch;
  at::Tensor bytes = input.bytes, pixels;
  RecordedWork::Kind kind;
  if (work_.is_enabled()) {
    const FixedInputs& fixed = fixed_inputs(batch);
    fixed.bytes.copy_(bytes, /*non_blocking=*/true);
    bytes = fixed.bytes;
    pixels = fixed.pixels;
    const std::int64_t kept = kept_patches(batch.request.epoch);
    if (std::exchange(recorded_patches_, kept) != kept) {
      work_.forget();  // the schedule does not come back to a number that it has left
    }
    kind = {&fixed - fixed_inputs_.data(), kept, on_part ? 1 : 0};
  }
  if (batch.crops) {
    pixels = augmented_images(*batch.crops, device_, pixels);
  }
  const std::vector<Part>& parts = on_part ? parts_ : whole_;
  const bool adds = images_per_slice(batch.staged.layout.contents.num_images) < batch.staged.layout.contents.num_images;
  std::vector<VitOutput::Cut> cuts;  // in the order of the blocks
  std::vector<std::function<void()>> stages = {
      [&] { forward_and_backward(batch, bytes, pixels, loss_scale, parts, cuts); }};
  for (std::size_t i = 1; i < parts.size(); ++i) {
    stages.emplace_back([&, i] {
      const VitOutput::Cut& cut = cuts.at(cuts.size() - i);
      cut.tokens.backward(cut.leaf.grad());
      move_gradient(parts[i], adds);
    });
  }
  work_.run(kind, stages, [&](std::size_t i) {
    for (const auto& [begin, end] : parts[i].ranges) {
      if (on_part) {
        on_part(begin, gradient_.narrow(0, begin, end - begin));
      }
    }
  });
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
                                            const at::Tensor& loss_scale, const std::vector<Part>& parts,
                                            std::vector<VitOutput::Cut>& cuts) {
  const Inputs inputs = prepare(batch, bytes, pixels);
  const std::int64_t slice = images_per_slice(inputs.size());
  student_.drop_gradient();  // of a recording that was refused halfway
  at::Tensor loss;
  for (std::int64_t first = 0; first < inputs.size(); first += slice) {
    const std::int64_t count = std::min(slice, inputs.size() - first);
    const double share = static_cast<double>(count) / static_cast<double>(inputs.size());
    const std::vector<Part>& left = first + count < inputs.size() ? whole_ : parts;
    const at::Tensor term = add_slice(inputs.narrow(first, count), share, loss_scale, left, cuts);
    loss = loss.defined() ? loss + term : term;
    move_gradient(left.front(), /*adds=*/first > 0);
  }
  loss_.copy_(loss);
}

void DistillationStep::move_gradient(const Part& part, bool adds) {
  for (const auto& [begin, end] : part.ranges) {
    student_.move_gradient(gradient_, adds, begin, end);
  }
}

std::int64_t DistillationStep::images_per_slice(std::int64_t images) const {
  return device_.is_cpu() ? std::min(kImagesPerSliceOnCpu, images) : images;
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

at::Tensor DistillationStep::add_slice(const Inputs& inputs, double share, const at::Tensor& loss_scale,
                                       const std::vector<Part>& parts, std::vector<VitOutput::Cut>& cuts) const {
  VitForward how;
  how.compute_dtype = scalar_type(options_.precision);
  how.reference_kernels = options_.reference_kernels;
  how.drop_path_factors = inputs.drop_path_factors;
  how.kept_patches = inputs.seen_patches;
  how.want_class_attention = view_ && view_->needs_student_attention(inputs.epoch);
  for (const Part& part : parts) {
    if (part.block > 0) {
      how.cut_before.push_back(part.block);
    }
  }
  VitOutput student = student_.model().forward(inputs.images, how);
  cuts = std::move(student.cuts);

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
