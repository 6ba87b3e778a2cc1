// Everything that describes a run, as plain structs that the command line binds (app/train_command.hpp).
#pragma once

#include "maskedkd/augment/augment.hpp"
#include "maskedkd/data/mixing.hpp"
#include "maskedkd/distill/loss.hpp"
#include "maskedkd/distill/mask_options.hpp"
#include "maskedkd/model/vit.hpp"
#include "maskedkd/train/adamw.hpp"
#include "maskedkd/train/schedule.hpp"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace maskedkd {

enum class Precision { fp32, bf16, fp16 };
Precision parse_precision(const std::string& text);  // throws Error (usage) listing the names
std::string to_string(Precision precision);
at::ScalarType scalar_type(Precision precision);

// The micro-batch of a run without --micro-batch: --batch-size itself where that is at most 128, else its largest even
// divisor from 64 to 128; 128 where there is none. Independent of the ranks, because it decides which images are mixed.
int default_micro_batch(std::int64_t global_batch);

struct TrainOptions {
  // data
  std::filesystem::path data_path;       // packed training set
  std::filesystem::path eval_data_path;  // packed evaluation set; empty: no evaluation
  AugmentOptions augment;
  MixOptions mixing;
  bool ignore_class_names = false;  // where class names differ, labels are used unchanged
  int repeats = 3;                  // repeated augmentation; 1: plain shuffle
  bool repeat_locality = false;     // an image's repeats in one micro-batch
  int num_workers = 2;              // loader threads of each rank
  int prefetch = 0;                 // micro-batches ready ahead on each rank; 0: micro_batches_ahead()
  bool augment_on_gpu = false;      // resampling and operations, by augmented_images(); needs a GPU
  std::filesystem::path stage_to;   // node-local folder to which the shards are copied; empty: none
  double stage_leave_free = 0.1;    // fraction of its file system
  int bad_records_limit = 0;  // damaged records that are replaced by the next ones; 0: the first one stops the run

  // student
  VitOptions student;
  double drop_path_rate = 0.1;
  double patch_drop = 0;           // without a teacher: largest fraction of patches that the student misses
  std::filesystem::path finetune;  // safetensors to start from; empty: random initialisation
  bool reinit_head = false;        // with finetune: the head is initialised, not loaded

  // teacher and loss
  std::filesystem::path teacher_path;  // safetensors file or checkpoint; empty only with type none
  std::string teacher_model;           // a published name; empty: from the checkpoint
  MaskOptions mask;                    // which patches of each image the teacher sees
  DistillationOptions distillation;

  // optimisation
  std::int64_t global_batch = 1024;  // images of a step on all ranks
  int micro_batch = 128;             // images, the unit of everything random
  AdamWOptions adamw;
  ScheduleOptions schedule;
  double clip_gradient_norm = 0;  // 0: no clipping
  double ema_decay = 0;           // 0: no weight average
  Precision precision = Precision::bf16;
  bool deterministic = true;       // gradients summed in a fixed tree
  bool reference_kernels = false;  // LibTorch's operators in place of this program's kernels of the models
  bool cuda_graph = true;          // on GPUs: the work of a micro-batch is recorded and replayed
  std::uint64_t seed = 0;

  // run
  std::filesystem::path output_dir;
  std::string resume = "auto";        // auto, none, or a checkpoint
  std::int64_t checkpoint_steps = 0;  // in addition to the end of each epoch; 0: never
  double checkpoint_minutes = 10;     // the same by time; 0: never
  int keep_checkpoints = 2;
  double max_checkpoint_age_minutes = 120;  // the run ends when no save has succeeded for so long; 0: never
  int checkpoint_file_mb = 1024;            // optimizer and average larger than this are written by several ranks
  std::string time_limit = "auto";          // see TimeLimit
  std::int64_t stop_after_steps = 0;        // as if a stop signal came after so many steps of this process; 0: never
  std::optional<double> hang_timeout_s;     // see WatchdogOptions; nullopt: learned; 0: no watchdog
  int eval_batch = 128;

  int micro_batches_per_step() const { return static_cast<int>(global_batch / micro_batch); }
  // own_per_step: micro-batches of a step on one rank. How many of them share decoded images (repeats), and how many
  // are kept ready ahead of the loop.
  int micro_batches_sharing_images(int own_per_step) const {
    return repeats > 1 && !repeat_locality ? own_per_step : 1;
  }
  int micro_batches_ahead(int own_per_step) const {
    return prefetch > 0 ? prefetch : micro_batches_sharing_images(own_per_step) + 4;
  }
  // Throws Error (usage) on the first invalid value. world_size: ranks.
  void validate(int world_size) const;
};

}  // namespace maskedkd
