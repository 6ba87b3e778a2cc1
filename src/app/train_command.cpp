#include "maskedkd/app/train_command.hpp"

#include "maskedkd/base/error.hpp"
#include "maskedkd/images/shard.hpp"
#include "maskedkd/model/registry.hpp"

#include <array>
#include <initializer_list>

namespace maskedkd {
namespace {

constexpr std::array kSizeFlags = {"input-size", "patch-size", "width",       "depth",
                                   "heads",      "distilled",  "layer-scale", "position-on-class-token"};

// --model with the flags of an own one.
struct StudentFlags {
  std::string model = "deit_tiny_patch16_224";
  VitOptions own;
  int num_classes = 0;

  void bind(CommandLine& line) {
    line.group("Student")
        .option("model", model, "a published name (a wrong one lists them), or vit for the sizes below")
        .option("num-classes", num_classes, "classes; 0: as many as the training data has")
        .option("input-size", own.input_size, "vit: edge of the square input, pixels")
        .option("patch-size", own.patch_size, "vit: edge of a patch, pixels")
        .option("width", own.width, "vit: size of a token")
        .option("depth", own.depth, "vit: number of blocks")
        .option("heads", own.num_heads, "vit: attention heads; divides the width")
        .option("distilled", own.distilled, "vit: with a distillation token and a second head, as DeiT's")
        .option("layer-scale", own.layer_scale, "vit: with LayerScale, as DeiT3's")
        .option("position-on-class-token", own.position_on_class_token,
                "vit: the position embedding covers the class token too (DeiT), or not (DeiT3)");
  }

  VitOptions resolve(const CommandLine& line, const std::filesystem::path& data_path) const {
    VitOptions student = own;
    if (model != "vit") {
      student = find_model(model);
      for (const char* flag : kSizeFlags) {
        if (line.given(flag)) {
          throw usage_error(fmt::format("--{} belongs to --model vit; {} has sizes of its own", flag, model));
        }
      }
    }
    student.num_classes =
        num_classes != 0 ? num_classes : static_cast<int>(read_shard_index(data_path).class_names.size());
    return student;
  }
};

void bind_data(CommandLine& line, TrainOptions& train) {
  line.group("Data")
      .option("data-path", train.data_path, "folder of packed training images (maskedkd_pack)")
      .option("eval-data-path", train.eval_data_path, "folder of packed test images; without it nothing is evaluated")
      .option("repeats", train.repeats, "repeated augmentation: times that an image comes in a row; 1: plain shuffle")
      .option("workers", train.num_workers, "threads a rank that read, decode and augment")
      .option("prefetch", train.prefetch, "micro-batches that a rank holds ready")
      .group("Augmentation")
      .option("crop-min-area", train.augment.crop_min_area, "smallest random crop, share of the image's area")
      .option("crop-max-area", train.augment.crop_max_area, "largest random crop, share of the image's area")
      .option("train-interpolation", to_string(train.augment.interpolation),
              "of the crop and of what turns and shifts the image: bicubic, bilinear, or random (either)",
              [&train](const std::string& text) { train.augment.interpolation = parse_interpolation_choice(text); })
      .option("flip", train.augment.flip_probability, "probability of a horizontal flip")
      .option("aa", "rand-m9-mstd0.5-inc1", "RandAugment's policy as timm writes it, or none",
              [&train](const std::string& text) { train.augment.policy = RandAugmentPolicy::parse(text); })
      .option("three-augment", train.augment.three_augment,
              "DeiT3's in place of --aa: grayscale, solarize or Gaussian blur, then --color-jitter")
      .option("color-jitter", train.augment.color_jitter,
              "brightness, contrast and saturation by 1 +- this, where --aa is none or 3-Augment's; 0: off")
      .option("erasing", train.augment.erasing_probability, "probability of random erasing")
      .option("erasing-mode", to_string(train.augment.erasing_mode),
              "what it fills in: normal noise (pixel), one normal colour (rand), the mean colour (const)",
              [&train](const std::string& text) { train.augment.erasing_mode = parse_erasing_mode(text); })
      .option("erasing-count", train.augment.erasing_count, "most boxes that it erases of an image")
      .option("eval-crop", train.augment.evaluation_crop, "evaluation: share of the shorter edge that the crop covers")
      .option("mixup", train.mixing.mixup_alpha, "Mixup: alpha of its Beta distribution; 0: off")
      .option("cutmix", train.mixing.cutmix_alpha, "CutMix: alpha of its Beta distribution; 0: off")
      .option("cutmix-minmax", "none",
              "CutMix: sides of its boxes, as 0.2,0.8 of the image's, in place of --cutmix; or none",
              [&train](const std::string& text) { train.mixing.cutmix_sides = CutMixSides::parse(text); })
      .option("mixup-prob", train.mixing.probability, "probability that a micro-batch is mixed at all")
      .option("mixup-switch-prob", train.mixing.switch_probability, "share of CutMix where both are on")
      .option("mixup-mode", "batch", "one lambda a micro-batch (batch), a pair (pair) or an image (elem)",
              [&train](const std::string& text) { train.mixing.mode = parse_mix_mode(text); })
      .option("smoothing", train.mixing.label_smoothing, "label smoothing");
}

void bind_distillation(CommandLine& line, TrainOptions& train) {
  line.group("Teacher")
      .option("teacher-path", train.teacher_path, "its weights: a safetensors file, a checkpoint, or a run's folder")
      .option("teacher-model", train.teacher_model, "its published name; a checkpoint of this program says it itself")
      .option("keep", train.mask.keep.to_string(),
              "patches that the teacher sees: a number, or a share of its patches as 0.5 (1.0: all)",
              [&train](const std::string& text) { train.mask.keep = KeepCount::parse(text, "keep"); })
      .option("mask-criterion", to_string(train.mask.criterion),
              "which: those that the student attends to most (student, the paper's) or least (lowest), random ones, "
              "those that the teacher itself attends to most (teacher: a full pass more), or all",
              [&train](const std::string& text) { train.mask.criterion = parse_mask_criterion(text); })
      .option("keep-schedule", to_string(train.mask.schedule),
              "constant, or from --keep-start in the first epoch to --keep in the last: linear, cosine",
              [&train](const std::string& text) { train.mask.schedule = parse_keep_schedule(text); })
      .option("keep-start", train.mask.keep_start.to_string(), "patches of the first epoch, as --keep",
              [&train](const std::string& text) { train.mask.keep_start = KeepCount::parse(text, "keep-start"); })
      .option("distillation-type", to_string(train.distillation.type), "soft, hard, or none (no teacher at all)",
              [&train](const std::string& text) { train.distillation.type = parse_distillation_type(text); })
      .option("distillation-alpha", train.distillation.alpha, "share of the teacher's term in the loss")
      .option("distillation-tau", train.distillation.tau, "temperature of soft distillation");
}

// What was asked for and would change nothing is a mistake.
void refuse_given(const CommandLine& line, std::initializer_list<const char*> flags, const std::string& beside,
                  const std::string& why) {
  for (const char* flag : flags) {
    if (line.given(flag)) {
      throw usage_error(fmt::format("--{} is given with {}: {}", flag, beside, why), "leave one of them out");
    }
  }
}

void check_augmentation_flags(const CommandLine& line, TrainOptions& train) {
  AugmentOptions& augment = train.augment;
  if (augment.three_augment) {
    if (augment.policy.enabled) {
      refuse_given(line, {"aa"}, "--three-augment", "an image gets RandAugment or 3-Augment");
    }
    augment.policy.enabled = false;
  }
  if (!augment.policy.allows_color_jitter()) {
    refuse_given(line, {"color-jitter"}, "RandAugment", "colours are jittered where --aa is none only");
  }
  if (augment.erasing_probability == 0) {
    refuse_given(line, {"erasing-mode", "erasing-count"}, "--erasing 0", "nothing is erased");
  }
  if (train.mixing.cutmix_sides) {
    refuse_given(line, {"cutmix"}, "--cutmix-minmax", "the boxes do not depend on a lambda then");
  }
}

void check_mask_flags(const CommandLine& line, const TrainOptions& train) {
  if (train.distillation.type == DistillationType::none) {
    refuse_given(line, {"keep", "mask-criterion", "keep-schedule", "keep-start"}, "--distillation-type none",
                 "there is no teacher");
  }
  if (train.mask.criterion == MaskCriterion::all) {
    refuse_given(line, {"keep", "keep-schedule", "keep-start"}, "--mask-criterion all", "the teacher sees every patch");
  }
  if (train.mask.schedule == KeepSchedule::constant) {
    refuse_given(line, {"keep-start"}, "--keep-schedule constant", "every epoch keeps --keep");
  }
}

void bind_optimisation(CommandLine& line, TrainOptions& train) {
  line.group("Optimisation")
      .option("batch-size", train.global_batch, "images a step, over all ranks")
      .option("micro-batch", train.micro_batch,
              "images of a forward pass, the unit of everything random; divides --batch-size")
      .option("epochs", train.schedule.epochs, "epochs of the whole schedule")
      .option("lr", train.schedule.learning_rate, "peak learning rate for 512 images a step; scaled with --batch-size")
      .option("warmup-epochs", train.schedule.warmup_epochs, "epochs of linear warm-up")
      .option("warmup-lr", train.schedule.warmup_rate, "learning rate at the start of the warm-up")
      .option("min-lr", train.schedule.min_rate, "learning rate at the end")
      .option("lr-per-step", train.schedule.per_step,
              "follow the schedule step by step; without it an epoch at a time, as the official code")
      .option("weight-decay", train.adamw.weight_decay, "AdamW: decay of matrices")
      .option("beta1", train.adamw.beta1, "AdamW: decay of the gradient's average")
      .option("beta2", train.adamw.beta2, "AdamW: decay of its square's average")
      .option("adam-epsilon", train.adamw.epsilon, "AdamW: epsilon")
      .option("clip-grad", train.clip_gradient_norm, "largest norm of the gradient; 0: no clipping")
      .option("drop-path", train.drop_path_rate, "stochastic depth of the last block; rises to it from 0")
      .option("model-ema-decay", train.ema_decay, "decay of the weights' moving average; 0: none (DeiT: 0.99996)")
      .option("precision", to_string(train.precision),
              "of matrix products: fp32, bf16, or fp16 with loss scaling (GPU)",
              [&train](const std::string& text) { train.precision = parse_precision(text); })
      .option("finetune", train.finetune, "weights to start from: a safetensors file, a checkpoint, or a run's folder")
      .option("reinit-head", train.reinit_head,
              "--finetune: take all but the head, whatever classes the file has, and MAE's pretrained encoders")
      .option("deterministic", train.deterministic, "the same bits on 1, 2, 4, ... ranks: gradients in a fixed tree")
      .option("seed", train.seed, "of everything random");
}

void bind_run(CommandLine& line, TrainCommand& command) {
  TrainOptions& train = command.train;
  line.group("Run")
      .option("output-dir", train.output_dir, "folder for checkpoints and log.txt; a run found there goes on")
      .option("resume", train.resume, "auto (the newest whole checkpoint of --output-dir), none, or a checkpoint")
      .option("checkpoint-steps", train.checkpoint_steps,
              "a checkpoint every so many steps besides epochs' ends; 0: off")
      .option("checkpoint-minutes", train.checkpoint_minutes, "the same every so many minutes; 0: off")
      .option("keep-checkpoints", train.keep_checkpoints, "newest checkpoints to keep, beside the best one")
      .option("stop-after-steps", train.stop_after_steps,
              "stop with a checkpoint and exit code 85 after so many steps of this start; 0: off")
      .option("eval-batch", train.eval_batch, "images of a forward pass in evaluation")
      .option("device", "auto", "auto, cpu or cuda",
              [&command](const std::string& text) { command.device = parse_device_choice(text); })
      .option("threads", command.threads,
              "CPU threads a rank; 0: OMP_NUM_THREADS, or the node's cores shared by its ranks")
      .required("data-path")
      .required("output-dir");
}

}  // namespace

std::optional<TrainCommand> TrainCommand::parse(int argc, const char* const* argv, std::string& help) {
  TrainCommand command;
  StudentFlags student;
  CommandLine line(
      "maskedkd_train",
      "Trains a Vision Transformer, from a teacher that sees only the patches the student attends to. SIGUSR1 (to "
      "mpiexec or srun) makes it write a checkpoint and exit with 85, and so does SIGTERM to the ranks; started again "
      "with "
      "the same command it goes on bit for bit, also on another number of ranks: 1, 2, 4, ... with the same --threads.",
      "mpiexec -n 8 maskedkd_train --data-path packed/train --eval-data-path packed/val \\\n"
      "    --model deit_tiny_patch16_224 --teacher-model deit3_small --teacher-path teacher.safetensors \\\n"
      "    --output-dir runs/deit_tiny");
  bind_data(line, command.train);
  student.bind(line);
  bind_distillation(line, command.train);
  bind_optimisation(line, command.train);
  bind_run(line, command);
  if (!line.parse(argc, argv)) {
    help = line.help();
    return std::nullopt;
  }
  command.train.student = student.resolve(line, command.train.data_path);
  command.train.augment.input_size = command.train.student.input_size;
  check_augmentation_flags(line, command.train);
  check_mask_flags(line, command.train);
  command.texts = line.resolved();
  for (auto& [name, text] : command.texts) {  // 0.50 is 0.5 when a resumed run is compared
    text = name == "keep"                                          ? command.train.mask.keep.to_string()
           : name == "keep-start"                                  ? command.train.mask.keep_start.to_string()
           : name == "aa" && !command.train.augment.policy.enabled ? "none"
                                                                   : text;
  }
  if (command.threads < 0) {
    throw usage_error(fmt::format("--threads {} must not be below 0", command.threads));
  }
  return command;
}

}  // namespace maskedkd
