#include "maskedkd/app/train_command.hpp"

#include "maskedkd/app/augmentation_flags.hpp"
#include "maskedkd/app/official_flags.hpp"
#include "maskedkd/base/error.hpp"
#include "maskedkd/cli/expanded_path.hpp"
#include "maskedkd/model/registry.hpp"
#include "maskedkd/shards/shard.hpp"
#include "maskedkd/watchdog/watchdog.hpp"

#include <algorithm>
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
        .option("num-classes", num_classes,
                "classes, at least those of the training data, which keep their numbers; 0: as many as it has")
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
    if (num_classes < 0) {
      throw usage_error(fmt::format("--num-classes {} must not be below 0", num_classes));
    }
    student.num_classes =
        num_classes != 0 ? num_classes : static_cast<int>(read_shard_index(data_path).class_names.size());
    return student;
  }
};

// --on-bad-record and --bad-records-limit, of which TrainOptions has one number.
struct BadRecordFlags {
  bool skip = false;
  int limit = 100;
};

void bind_data(CommandLine& line, TrainOptions& train, BadRecordFlags& on_bad) {
  line.group("Data")
      .option("data-path", train.data_path,
              "folder of packed training images (maskedkd_pack), or one that holds such folders train and val")
      .option("eval-data-path", train.eval_data_path,
              "folder of packed test images; without it, and without a val beside train, nothing is evaluated")
      .option(
          "ignore-class-names", train.ignore_class_names,
          "where the evaluation set, the teacher or --finetune have other names of classes than the training set, go "
          "on with a warning: label 0 is class 0 of each")
      .option(
          "stage-to", train.stage_to,
          "folder on the node's own disk, say $TMPDIR: the shards are copied there once a node, while training goes on")
      .option("stage-leave-free", train.stage_leave_free, "share of that disk that stays free for others")
      .option(
          "on-bad-record", "stop",
          "what a damaged record does, of training or evaluation: stop (ends the run), or skip (is told, and the one "
          "after it takes its place)",
          [&on_bad](const std::string& text) {
            if (text != "stop" && text != "skip") {
              throw usage_error(fmt::format("--on-bad-record: '{}' is unknown", text), "choose from stop, skip");
            }
            on_bad.skip = text == "skip";
          })
      .option("bad-records-limit", on_bad.limit, "skip: as many damaged records a rank are replaced, one more stops")
      .option("repeats", train.repeats, "repeated augmentation: times that an image comes in a row; 1: plain shuffle")
      .option("repeat-locality", train.repeat_locality,
              "the repeats of an image come in one micro-batch, where it is decoded once; changes who is mixed with "
              "whom, and "
              "which crops are drawn, not which images a step has")
      .option("workers", train.num_workers, "threads a rank that read, decode and augment; 0: by the cores it has")
      .option("prefetch", train.prefetch,
              "micro-batches that a rank holds ready; 0: 4 and those of its step that share images");
  bind_augmentation(line, train.augment, train.mixing);
  line.option("augment-on", "cpu",
              "who resamples and does the operations: cpu, or gpu, which leaves the workers only reading and decoding",
              [&train](const std::string& text) {
                if (text != "cpu" && text != "gpu") {
                  throw usage_error(fmt::format("--augment-on: '{}' is unknown", text), "choose from cpu, gpu");
                }
                train.augment_on_gpu = text == "gpu";
              });
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

// The official layout: a folder that holds a set train and perhaps a set val.
void find_sets(TrainOptions& train) {
  const auto is_set = [](const std::filesystem::path& folder) {
    return std::filesystem::exists(folder / kShardIndexName);
  };
  if (is_set(train.data_path) || !is_set(train.data_path / "train")) {
    return;
  }
  if (train.eval_data_path.empty() && is_set(train.data_path / "val")) {
    train.eval_data_path = train.data_path / "val";
  }
  train.data_path /= "train";
}

// What was asked for and would change nothing is a mistake.
void check_mask_flags(const CommandLine& line, const TrainOptions& train) {
  if (train.distillation.type == DistillationType::none) {
    line.refuse_given({"keep", "mask-criterion", "keep-schedule", "keep-start"}, "--distillation-type none",
                      "there is no teacher");
  }
  if (train.mask.criterion == MaskCriterion::all) {
    line.refuse_given({"keep", "keep-schedule", "keep-start"}, "--mask-criterion all", "the teacher sees every patch");
  }
  if (train.mask.schedule == KeepSchedule::constant) {
    line.refuse_given({"keep-start"}, "--keep-schedule constant", "every epoch keeps --keep");
  }
}

void bind_optimisation(CommandLine& line, TrainOptions& train) {
  line.group("Optimisation")
      .option("batch-size", train.global_batch, "images a step, of all ranks together (in the official code: of each)")
      .option("micro-batch", train.micro_batch,
              "images of a forward pass, the unit of everything random; divides --batch-size; 0: the most up to 128 "
              "that do")
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
      .option("resume", train.resume, "auto (the newest whole checkpoint of --output-dir), none, or a checkpoint",
              [&train](const std::string& text) { train.resume = expanded_path("--resume", text); })
      .option("checkpoint-steps", train.checkpoint_steps,
              "a checkpoint every so many steps besides epochs' ends; 0: off")
      .option("checkpoint-minutes", train.checkpoint_minutes, "the same every so many minutes; 0: off")
      .option("keep-checkpoints", train.keep_checkpoints, "newest checkpoints to keep, beside the best one")
      .option("max-checkpoint-age", train.max_checkpoint_age_minutes,
              "a checkpoint that can't be written is tried again at the next one's time; when none has worked for so "
              "many minutes, the run ends; 0: never")
      .option("checkpoint-file-mb", train.checkpoint_file_mb,
              "optimizer and average of more than so many MB are written by several ranks, a file each")
      .option("time-limit", train.time_limit,
              "when to stop with a checkpoint and exit code 85: auto (in time before the job's end, as Slurm or "
              "MASKEDKD_JOB_END says), none, or a time from now as sbatch takes it: 90, 1:30:00, 2-12:00; "
              "while the job is suspended no time counts")
      .option("hang-timeout", "auto",
              "when a rank counts as hung that does nothing: the job then ends with exit code 85 and says which one; "
              "auto (60 seconds, or ten times the longest that anything took), or seconds; 0: off",
              [&train](const std::string& text) { train.hang_timeout_s = WatchdogOptions::parse_timeout(text); })
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

// What follows from several flags, or from the data: what the run is compared by when it is resumed, 0.50 being 0.5.
OptionTexts texts_in_force(const TrainOptions& train) {
  const VitOptions& student = train.student;
  const auto yes_or_no = [](bool value) { return std::string(value ? "true" : "false"); };
  OptionTexts texts = {{"data-path", train.data_path.string()},
                       {"eval-data-path", train.eval_data_path.string()},
                       {"num-classes", std::to_string(student.num_classes)},
                       {"input-size", std::to_string(student.input_size)},
                       {"patch-size", std::to_string(student.patch_size)},
                       {"width", std::to_string(student.width)},
                       {"depth", std::to_string(student.depth)},
                       {"heads", std::to_string(student.num_heads)},
                       {"distilled", yes_or_no(student.distilled)},
                       {"layer-scale", yes_or_no(student.layer_scale)},
                       {"position-on-class-token", yes_or_no(student.position_on_class_token)},
                       {"micro-batch", std::to_string(train.micro_batch)},
                       {"keep", train.mask.keep.to_string()},
                       {"keep-start", train.mask.keep_start.to_string()}};
  if (train.mask.criterion == MaskCriterion::all) {
    texts.emplace_back("keep", KeepCount::share(1.0).to_string());
  }
  if (!train.augment.policy.enabled) {
    texts.emplace_back("aa", "none");
  }
  if (!train.augment.policy.allows_color_jitter()) {
    texts.emplace_back("color-jitter", "0");
  }
  if (train.bad_records_limit == 0) {
    texts.emplace_back("bad-records-limit", "0");
  }
  return texts;
}

}  // namespace

void TrainCommand::show(const OptionTexts& in_force) {
  for (const auto& [name, text] : in_force) {
    const auto option =
        std::find_if(texts.begin(), texts.end(), [&name = name](const auto& it) { return it.first == name; });
    option->second = text;
  }
}

std::optional<TrainCommand> TrainCommand::parse(int argc, const char* const* argv, std::string& help) {
  TrainCommand command;
  StudentFlags student;
  CommandLine line(
      "maskedkd_train",
      "Trains a Vision Transformer, from a teacher that sees only the patches the student attends to. SIGUSR1 (to "
      "mpiexec or srun) makes it write a checkpoint and exit with 85, and so do SIGTERM and SIGHUP to the ranks; "
      "started again with the same command it goes on bit for bit, also on another number of ranks: 1, 2, 4, ... with "
      "the same --threads.",
      "mpiexec -n 8 maskedkd_train --data-path packed/train --eval-data-path packed/val \\\n"
      "    --model deit_tiny_patch16_224 --teacher-model deit3_small --teacher-path teacher.safetensors \\\n"
      "    --output-dir runs/deit_tiny");
  BadRecordFlags on_bad;
  command.train.num_workers = 0;
  command.train.micro_batch = 0;
  line.advise_unknown(official_advice_for_training);
  bind_data(line, command.train, on_bad);
  student.bind(line);
  bind_distillation(line, command.train);
  bind_optimisation(line, command.train);
  bind_run(line, command);
  if (!line.parse(argc, argv)) {
    help = line.help();
    return std::nullopt;
  }
  if (line.given("bad-records-limit") && !on_bad.skip) {
    throw usage_error("--bad-records-limit is given with --on-bad-record stop: the first damaged record ends the run",
                      "add --on-bad-record skip, or leave it out");
  }
  if (on_bad.limit < 1) {
    throw usage_error(fmt::format("--bad-records-limit {} must be at least 1", on_bad.limit));
  }
  if (command.train.stage_to.empty()) {
    line.refuse_given({"stage-leave-free"}, "no --stage-to", "nothing is copied");
  }
  command.train.bad_records_limit = on_bad.skip ? on_bad.limit : 0;
  find_sets(command.train);
  command.train.student = student.resolve(line, command.train.data_path);
  command.train.augment.input_size = command.train.student.input_size;
  check_augmentation(line, command.train.augment, command.train.mixing);
  if (command.train.micro_batch == 0) {
    command.train.micro_batch = fitting_micro_batch(command.train.global_batch);
  }
  check_mask_flags(line, command.train);
  command.texts = line.resolved();
  command.show(texts_in_force(command.train));
  if (command.threads < 0) {
    throw usage_error(fmt::format("--threads {} must not be below 0", command.threads));
  }
  return command;
}

}  // namespace maskedkd
