#include "maskedkd/train/train_options.hpp"

#include "maskedkd/base/enum_names.hpp"
#include "maskedkd/base/error.hpp"
#include "maskedkd/train/time_limit.hpp"
#include "maskedkd/watchdog/watchdog.hpp"

namespace maskedkd {
namespace {

void require(bool good, const std::string& message, const std::string& hint = {}) {
  if (!good) {
    throw usage_error(message, hint);
  }
}

// The first remedy is for users of the official code, the last one for a run that is resumed.
std::string too_many_ranks_hint(const TrainOptions& options, int world_size) {
  std::string hint = fmt::format(
      "--batch-size counts the images of all ranks (in the official code those of each): take --batch-size {} "
      "--micro-batch {}",
      options.micro_batch * static_cast<std::int64_t>(world_size), options.micro_batch);
  // The largest even micro-batch of which there is one for each rank.
  for (std::int64_t size = options.global_batch / world_size; size >= 2; --size) {
    if (size % 2 == 0 && options.global_batch % size == 0) {
      hint += fmt::format(", or --batch-size {} --micro-batch {}", options.global_batch, size);
      break;
    }
  }
  const int most = options.micro_batches_per_step();
  return fmt::format("{}, or start at most {} rank{}", hint, most, most == 1 ? "" : "s");
}

constexpr EnumNames<Precision, 3> kPrecisions = {
    {{"fp32", Precision::fp32}, {"bf16", Precision::bf16}, {"fp16", Precision::fp16}}};

}  // namespace

Precision parse_precision(const std::string& text) { return parse_name(kPrecisions, text, "--precision"); }

std::string to_string(Precision precision) { return name_of(kPrecisions, precision); }

at::ScalarType scalar_type(Precision precision) {
  switch (precision) {
    case Precision::bf16:
      return at::kBFloat16;
    case Precision::fp16:
      return at::kHalf;
    case Precision::fp32:
      break;
  }
  return at::kFloat;
}

int default_micro_batch(std::int64_t global_batch) {
  constexpr int kLargest = 128, kSmallest = 64;
  if (global_batch <= kLargest) {
    return static_cast<int>(global_batch);
  }
  for (int size = kLargest; size >= kSmallest; size -= 2) {
    if (global_batch % size == 0) {
      return size;
    }
  }
  return kLargest;
}

void TrainOptions::validate(int world_size) const {
  student.validate();
  augment.validate();
  schedule.validate();
  adamw.validate();
  distillation.validate();
  require(global_batch >= 1, fmt::format("--batch-size {} must be at least 1", global_batch));
  require(micro_batch >= 1, fmt::format("--micro-batch {} must be at least 1", micro_batch));
  require(global_batch % micro_batch == 0,
          fmt::format("--batch-size {} is not a multiple of --micro-batch {}", global_batch, micro_batch),
          fmt::format("a step is made of whole micro-batches: take --batch-size {}",
                      (global_batch / micro_batch + 1) * micro_batch));
  mixing.validate(micro_batch);
  require(world_size <= micro_batches_per_step(),
          fmt::format("{} ranks are more than the {} micro-batches of a step (--batch-size {} / --micro-batch {})",
                      world_size, micro_batches_per_step(), global_batch, micro_batch),
          too_many_ranks_hint(*this, world_size));
  require(augment.input_size == student.input_size,
          fmt::format("images of {} pixels for a student of {}", augment.input_size, student.input_size));
  require(!reinit_head || !finetune.empty(), "--reinit-head is given without --finetune: every weight is new",
          "name the weights to start from, or leave it out");
  require(repeats >= 1, fmt::format("--repeats {} must be at least 1", repeats));
  require(stage_leave_free >= 0 && stage_leave_free < 1,
          fmt::format("--stage-leave-free {} must lie in [0, 1)", stage_leave_free));
  require(bad_records_limit >= 0, fmt::format("--bad-records-limit {} must not be below 0", bad_records_limit));
  require(num_workers >= 0 && prefetch >= 0, "--workers and --prefetch must not be below 0");
  require(drop_path_rate >= 0 && drop_path_rate < 1, fmt::format("--drop-path {} must lie in [0, 1)", drop_path_rate));
  require(patch_drop >= 0 && patch_drop < 1, fmt::format("--patch-drop {} must lie in [0, 1)", patch_drop));
  require(clip_gradient_norm >= 0, fmt::format("--clip-grad {} must not be below 0", clip_gradient_norm));
  require(ema_decay >= 0 && ema_decay < 1, fmt::format("--model-ema-decay {} must lie in [0, 1)", ema_decay));
  require(keep_checkpoints >= 1, fmt::format("--keep-checkpoints {} must be at least 1", keep_checkpoints));
  require(checkpoint_steps >= 0 && checkpoint_minutes >= 0 && stop_after_steps >= 0,
          "--checkpoint-steps, --checkpoint-minutes and --stop-after-steps must not be below 0");
  WatchdogOptions{hang_timeout_s, {}}.validate();
  require(max_checkpoint_age_minutes >= 0,
          fmt::format("--max-checkpoint-age {} must not be below 0", max_checkpoint_age_minutes));
  require(checkpoint_file_mb >= 1, fmt::format("--checkpoint-file-mb {} must be at least 1", checkpoint_file_mb));
  TimeLimit(time_limit, [](const char*) { return std::string(); });  // throws where it is invalid
  require(eval_batch >= 1, fmt::format("--eval-batch {} must be at least 1", eval_batch));
  const bool distils = distillation.type != DistillationType::none;
  require(!distils || !teacher_path.empty(), "--teacher-path is missing",
          "name the teacher's weights, or train without a teacher: --distillation-type none");
  require(!distils || patch_drop == 0,
          fmt::format(
              "--patch-drop {} is given with a teacher, whose patches the student's attention to all of them selects",
              patch_drop),
          "leave it out; it is for training a teacher, with --distillation-type none");
  require(distils || teacher_path.empty(), "--teacher-path is given with --distillation-type none",
          "leave one of them out");
}

}  // namespace maskedkd
