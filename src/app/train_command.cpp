#include "maskedkd/app/train_command.hpp"

#include "maskedkd/app/augmentation_flags.hpp"
#include "maskedkd/app/official_flags.hpp"
#include "maskedkd/base/enum_names.hpp"
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

// --model and the sizes of --model vit.
struct StudentFlags {
  std::string model = "deit_tiny_patch16_224";
  VitOptions own;
  int num_classes = 0;

  void bind(CommandLine& line) {
    // The model that follows from these is compared on resume, not their texts.
    line.group("Student")
        .option("model NAME", model, "a published name (a wrong one lists them), or vit for the sizes below",
                OnResume::compared)
        .option("num-classes", num_classes,
                "number of classes, at least that of the training data, whose labels stay the same; 0: as many as the "
                "data has",
                OnResume::compared)
        .option("input-size", own.input_size, "vit: edge of the square input, pixels", OnResume::compared)
        .option("patch-size", own.patch_size, "vit: edge of a patch, pixels", OnResume::compared)
        .option("width", own.width, "vit: size of a token", OnResume::compared)
        .option("depth", own.depth, "vit: number of blocks", OnResume::compared)
        .option("heads", own.num_heads, "vit: attention heads; divides the width", OnResume::compared)
        .option("distilled", own.distilled, "vit: with a distillation token and a second head, as DeiT's",
                OnResume::compared)
        .option("layer-scale", own.layer_scale, "vit: with LayerScale, as DeiT3's", OnResume::compared)
        .option("position-on-class-token", own.position_on_class_token,
                "vit: the position embedding covers the class token too (DeiT), or not (DeiT3)", OnResume::compared);
  }

  VitOptions resolve(const CommandLine& line, const std::filesystem::path& data_path) const {
    VitOptions student = own;
    if (model != "vit") {
      student = find_model(model);
      for (const char* flag : kSizeFlags) {
        if (line.given(flag)) {
          throw usage_error(fmt::format("--{} is given with --model {}: only --model vit takes sizes", flag, model));
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

// --on-bad-record and --bad-records-limit, which are one number in TrainOptions.
struct BadRecordFlags {
  bool skip = false;
  int limit = 100;
};

void bind_data(CommandLine& line, TrainOptions& train, BadRecordFlags& on_bad) {
  line.group("Data")
      .option("data-path", train.data_path,
              "folder of packed training images (maskedkd_pack), or one that holds such folders train and val",
              OnResume::compared)
      .option("eval-data-path", train.eval_data_path,
              "folder of packed test images; without it, and without a val beside train, nothing is evaluated",
              OnResume::free)
      .option("ignore-class-names", train.ignore_class_names,
              "where the class names of the evaluation set, the teacher or --finetune differ from the training set's, "
              "only warn: label 0 is class 0 of each",
              OnResume::free)
      .option("stage-to", train.stage_to,
              "folder on the node's own disk, say $TMPDIR: the shards are copied there, once for each node, while "
              "training goes on",
              OnResume::free)
      .option("stage-leave-free SHARE", train.stage_leave_free, "share of that disk that is left free", OnResume::free)
      .option(
          "on-bad-record stop|skip", "stop",
          "what to do about a damaged record of training or evaluation: stop (end the run), or skip (report it and use "
          "the next one in its place)",
          [&on_bad](const std::string& text) {
            constexpr EnumNames<bool, 2> kSkips = {{{"stop", false}, {"skip", true}}};
            on_bad.skip = parse_name(kSkips, text, "--on-bad-record");
          },
          OnResume::free)
      .option("bad-records-limit", on_bad.limit,
              "skip: damaged records that each rank may replace; one more ends the run", OnResume::free)
      .option("repeats", train.repeats,
              "repeated augmentation: how often each image comes in a row; 1: a plain shuffle", OnResume::fixed)
      .option("repeat-locality", train.repeat_locality,
              "the repeats of an image come in one micro-batch, where it is decoded once; changes which images "
              "are mixed with each other and which crops are drawn, not which images a step has",
              OnResume::fixed)
      .option("workers", train.num_workers,
              "threads of each rank that read, decode and augment; 0: by the rank's cores", OnResume::free)
      .option("prefetch", train.prefetch,
              "micro-batches that each rank prepares ahead; 0: 4, and those of its step that share images",
              OnResume::free);
  bind_augmentation(line, train.augment, train.mixing);
  line.option("augment-on cpu|gpu", "cpu",
              "where images are resampled and augmented: cpu, or gpu, where the workers only read and decode",
              [&train](const std::string& text) {
                constexpr EnumNames<bool, 2> kOnGpu = {{{"cpu", false}, {"gpu", true}}};
                train.augment_on_gpu = parse_name(kOnGpu, text, "--augment-on");
              });
}

void bind_distillation(CommandLine& line, TrainOptions& train) {
  line.group("Teacher")
      .option("teacher-path", train.teacher_path,
              "the teacher's weights: a safetensors file, a checkpoint, or a run's folder", OnResume::compared)
      .option("teacher-model NAME", train.teacher_model,
              "the teacher's published name; not needed where its weights are a checkpoint of this program",
              OnResume::compared)
      .option("keep N|SHARE", train.mask.keep.to_string(),
              "patches that the teacher sees: a number, or a share of its patches as 0.5 (1.0: all)",
              [&train](const std::string& text) { train.mask.keep = KeepCount::parse(text, "keep"); })
      .option("mask-criterion NAME", to_string(train.mask.criterion),
              "which patches: those that the student attends to most (student, the paper's) or least (lowest), random "
              "ones (random), those that the teacher itself attends to most (teacher: one more full pass), or all",
              [&train](const std::string& text) { train.mask.criterion = parse_mask_criterion(text); })
      .option("keep-schedule NAME", to_string(train.mask.schedule),
              "constant, or from --keep-start in the first epoch to --keep in the last: linear, cosine",
              [&train](const std::string& text) { train.mask.schedule = parse_keep_schedule(text); })
      .option("keep-start N|SHARE", train.mask.keep_start.to_string(), "patches of the first epoch, as --keep",
              [&train](const std::string& text) { train.mask.keep_start = KeepCount::parse(text, "keep-start"); })
      .option("distillation-type soft|hard|none", to_string(train.distillation.type),
              "soft (the teacher's distribution), hard (its best class), or none (no teacher)",
              [&train](const std::string& text) { train.distillation.type = parse_distillation_type(text); })
      .option("distillation-alpha SHARE", train.distillation.alpha, "share of the teacher's term in the loss")
      .option("distillation-tau", train.distillation.tau, "temperature of soft distillation");
}

// --data-path may name a folder of the official layout, with a set train and perhaps a set val.
void find_sets(TrainOptions& train) {
  const std::filesystem::path given = train.data_path;
  train.data_path = find_set(given, "train");
  if (train.data_path != given && train.eval_data_path.empty()) {
    const std::filesystem::path evaluation = find_set(given, "val");
    train.eval_data_path = evaluation != given ? evaluation : std::filesystem::path();
  }
}

// A flag that would have no effect is a mistake.
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
      .option("batch-size", train.global_batch, "images a step, of all ranks together (in the official code: of each)",
              OnResume::fixed)
      .option(
          "micro-batch", train.micro_batch,
          "images of a forward pass, the unit of everything random; divides --batch-size; 0: the largest divisor up "
          "to 128",
          OnResume::fixed)
      .option("epochs", train.schedule.epochs, "epochs of the whole schedule")
      .option("lr", train.schedule.learning_rate, "peak learning rate for 512 images a step; scaled with --batch-size")
      .option("warmup-epochs", train.schedule.warmup_epochs, "epochs of linear warm-up")
      .option("warmup-lr", train.schedule.warmup_rate, "learning rate at the start of the warm-up")
      .option("min-lr", train.schedule.min_rate, "learning rate at the end")
      .option("lr-per-step", train.schedule.per_step,
              "change the learning rate at every step; without it once an epoch, as the official code")
      .option("weight-decay", train.adamw.weight_decay, "AdamW: decay of matrices")
      .option("beta1", train.adamw.beta1, "AdamW: decay of the average of gradients")
      .option("beta2", train.adamw.beta2, "AdamW: decay of the average of their squares")
      .option("adam-epsilon", train.adamw.epsilon, "AdamW: epsilon")
      .option("clip-grad", train.clip_gradient_norm, "largest norm of the gradient; 0: no clipping")
      .option("drop-path P", train.drop_path_rate,
              "stochastic depth: probability at the last block, rising from 0 at the first")
      .option("patch-drop SHARE", train.patch_drop,
              "--distillation-type none: each micro-batch is trained on a random part of the patches of each image, "
              "without a share of them between 0 and this one; for a teacher that is to see masked images")
      .option("model-ema-decay", train.ema_decay, "decay of the weights' moving average; 0: none (DeiT: 0.99996)",
              OnResume::fixed)
      .option(
          "precision fp32|bf16|fp16", to_string(train.precision),
          "of matrix products; fp16 scales the loss and needs a GPU",
          [&train](const std::string& text) { train.precision = parse_precision(text); }, OnResume::fixed)
      .option("finetune", train.finetune, "weights to start from: a safetensors file, a checkpoint, or a run's folder",
              OnResume::free)
      .option("reinit-head", train.reinit_head,
              "--finetune: load all but the head, whatever classes the file has; also from MAE's pretrained encoders",
              OnResume::free)
      .option("deterministic", train.deterministic, "the same bits on 1, 2, 4, ... ranks: gradients in a fixed tree")
      .option(
          "reference-kernels", train.reference_kernels,
          "compute the models with LibTorch's operators alone, in place of this program's kernels: slower, equal up "
          "to rounding")
      .option("cuda-graph", train.cuda_graph,
              "on GPUs: start the work of a micro-batch at once, as a CUDA graph; the bits are the same without",
              OnResume::free)
      .option("seed", train.seed, "of everything random", OnResume::fixed);
}

void bind_run(CommandLine& line, TrainCommand& command) {
  TrainOptions& train = command.train;
  line.group("Run")
      .option("output-dir", train.output_dir, "folder for checkpoints and log.txt; a run that is in it is resumed",
              OnResume::free)
      .option(
          "resume auto|none|PATH", train.resume,
          "auto (the newest intact checkpoint of --output-dir), none, or a checkpoint",
          [&train](const std::string& text) { train.resume = expanded_path("--resume", text); }, OnResume::free)
      .option("checkpoint-steps", train.checkpoint_steps,
              "write a checkpoint every so many steps, besides those at epochs' ends; 0: off", OnResume::free)
      .option("checkpoint-minutes", train.checkpoint_minutes, "the same every so many minutes; 0: off", OnResume::free)
      .option("keep-checkpoints", train.keep_checkpoints, "newest checkpoints to keep, besides the best one",
              OnResume::free)
      .option("max-checkpoint-age MINUTES", train.max_checkpoint_age_minutes,
              "a checkpoint that can't be written is tried again when the next one is due; when none could be written "
              "for so many minutes, the run ends; 0: never",
              OnResume::free)
      .option("checkpoint-file-mb MB", train.checkpoint_file_mb,
              "size from which the optimizer's state and the average are written by several ranks, one file each",
              OnResume::free)
      .option("time-limit TIME", train.time_limit,
              "when to stop with a checkpoint and exit code 85: auto (in time before the job's end, as Slurm or "
              "MASKEDKD_JOB_END says), none, or a time from now as sbatch takes it: 90, 1:30:00, 2-12:00; "
              "time in which the job is suspended does not count",
              OnResume::free)
      .option(
          "hang-timeout SECONDS", "auto",
          "how long a rank may do nothing before it counts as hung: the job then ends with exit code 85 and names it; "
          "auto: 60, or ten times the longest that any operation took; 0: off",
          [&train](const std::string& text) { train.hang_timeout_s = WatchdogOptions::parse_timeout(text); },
          OnResume::free)
      .option("stop-after-steps", train.stop_after_steps,
              "stop with a checkpoint and exit code 85 after so many steps of this start; 0: off", OnResume::free)
      .option("eval-batch", train.eval_batch, "images of a forward pass in evaluation", OnResume::free)
      .option(
          "device auto|cpu|cuda", "auto", "auto: a GPU for each rank where there are GPUs",
          [&command](const std::string& text) { command.device = parse_device_choice(text); }, OnResume::free)
      .option("threads", command.threads,
              "CPU threads of each rank; 0: OMP_NUM_THREADS, or the node's cores divided by its ranks", OnResume::free)
      .required("data-path")
      .required("output-dir");
}

// Options whose value in force follows from several flags or from the data, or that may be given in several ways (0.50
// is 0.5). A resumed run is compared by these texts.
std::vector<std::pair<std::string, std::string>> texts_in_force(const TrainOptions& train) {
  const VitOptions& student = train.student;
  const auto yes_or_no = [](bool value) { return std::string(value ? "true" : "false"); };
  std::vector<std::pair<std::string, std::string>> texts = {
      {"data-path", train.data_path.string()},
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

void TrainCommand::set_texts(const std::vector<std::pair<std::string, std::string>>& in_force) {
  for (const auto& [name, text] : in_force) {
    const auto option =
        std::find_if(texts.begin(), texts.end(), [&name = name](const OptionText& it) { return it.name == name; });
    option->text = text;
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
    command.train.micro_batch = default_micro_batch(command.train.global_batch);
  }
  check_mask_flags(line, command.train);
  command.texts = line.resolved();
  command.set_texts(texts_in_force(command.train));
  if (command.threads < 0) {
    throw usage_error(fmt::format("--threads {} must not be below 0", command.threads));
  }
  return command;
}

}  // namespace maskedkd
