#include "maskedkd/train/distillation_step.hpp"

#include "maskedkd/base/philox.hpp"
#include "maskedkd/data/batch.hpp"
#include "maskedkd/data/mixing.hpp"
#include "maskedkd/distill/loss.hpp"
#include "maskedkd/distill/patch_selection.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>

namespace maskedkd {
namespace {

RandomAddress address_of(const BatchRequest& request, std::uint64_t seed, RandomPurpose purpose) {
  return {seed, purpose, request.epoch, request.step, request.micro_batch, /*position=*/0};
}

}  // namespace

DistillationStep::DistillationStep(const TrainOptions& options, const Vit& student, const Teacher* teacher,
                                   at::Device device)
    : options_(options), student_(student), teacher_(teacher), device_(device) {}

at::Tensor DistillationStep::run(const MicroBatch& batch, double loss_scale) const {
  const auto size = static_cast<int>(batch.labels.size(0));
  const int pixels = options_.student.input_size;
  PhiloxStream mix_random(mix_address(batch.request, options_.seed));
  const MixPlan mix = draw_mix_plan(mix_random, size, pixels, pixels, options_.mixing);
  const at::Tensor images = apply_mix(normalised_images(batch, device_), mix);  // [B, 3, S, S]
  const at::Tensor targets = mixed_targets(batch.labels.to(device_), mix, options_.student.num_classes,
                                           options_.mixing.label_smoothing);  // [B, C]

  const std::int64_t keep = kept_patches(batch.request.epoch);
  const bool masked = teacher_ != nullptr && keep < teacher_->options().num_patches();
  const MaskCriterion criterion = options_.mask.criterion;
  VitForward how;
  how.compute_dtype = scalar_type(options_.precision);
  how.drop_path_rate = options_.drop_path_rate;
  how.drop_path_uniforms = drop_path_uniforms(batch.request);
  how.want_class_attention = masked && (criterion == MaskCriterion::student || criterion == MaskCriterion::lowest);
  const VitOutput student = student_.forward(images, how);

  at::Tensor teacher_logits;  // [B, C]
  if (teacher_ != nullptr) {
    const at::Tensor seen = teacher_->fitted(images);  // [B, 3, S', S']
    const at::Tensor kept = masked ? select_patches(patch_scores(seen, student, batch.request), keep) : at::Tensor();
    teacher_logits = teacher_->logits(seen, kept);
  }
  const at::Tensor loss =
      distillation_loss(student.logits, student.distillation_logits, targets, teacher_logits, options_.distillation);
  (loss_scale == 1.0 ? loss : loss * loss_scale).backward();
  return loss.detach();
}

std::int64_t DistillationStep::kept_patches(std::int64_t epoch) const {
  return teacher_ == nullptr
             ? 0
             : options_.mask.kept_patches(epoch, options_.schedule.epochs, teacher_->options().num_patches());
}

at::Tensor DistillationStep::patch_scores(const at::Tensor& seen, const VitOutput& student,
                                          const BatchRequest& request) const {
  const VitOptions& teacher = teacher_->options();
  const auto student_attention = [&] {
    return resample_attention(student.class_attention, options_.student.grid_size(), teacher.grid_size());
  };
  switch (options_.mask.criterion) {
    case MaskCriterion::random: {
      PhiloxStream random(address_of(request, options_.seed, RandomPurpose::patch_selection));
      return random_scores(seen.size(0), teacher.num_patches(), random).to(device_);
    }
    case MaskCriterion::lowest:
      return -student_attention();
    case MaskCriterion::teacher:
      return teacher_->class_attention(seen);
    case MaskCriterion::student:
    case MaskCriterion::all:  // which masks nothing
      break;
  }
  return student_attention();
}

at::Tensor DistillationStep::drop_path_uniforms(const BatchRequest& request) const {
  if (options_.drop_path_rate == 0) {
    return {};
  }
  PhiloxStream random(address_of(request, options_.seed, RandomPurpose::drop_path));
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
