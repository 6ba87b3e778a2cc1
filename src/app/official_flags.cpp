#include "maskedkd/app/official_flags.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace maskedkd {
namespace {

constexpr std::string_view kOneSchedule =
    "the schedule is always a cosine after a linear warm-up (--lr, --warmup-epochs, --warmup-lr, --min-lr)";
constexpr std::string_view kOneOptimizer =
    "the optimizer is always AdamW (--beta1, --beta2, --adam-epsilon, --weight-decay)";
constexpr std::string_view kRanks = "ranks are started by mpiexec -n N, or by srun in a Slurm job, and find each other";
constexpr std::string_view kNoNoise = "the learning rate has no noise, as in the published recipe";
constexpr std::string_view kPinned = "memory is pinned where there is a GPU";
constexpr std::string_view kPacked =
    "a set is what maskedkd_pack makes of class folders, of a list of labels, or of the files of MNIST";

constexpr auto kFlags = std::to_array<OfficialFlag>({
    {"attn-only", "", "training the attention alone is not supported"},
    {"bce-loss", "", "the loss is always the cross entropy, as in MaskedKD"},
    {"cooldown-epochs", "", "the official loop ends after --epochs, so it has no effect there either"},
    {"cosub", "", "cosub is not supported"},
    {"data-set", "", kPacked},
    {"decay-epochs", "", kOneSchedule},
    {"decay-rate", "", kOneSchedule},
    {"dist-eval", "", "an evaluation is always shared by all ranks, every image once"},
    {"dist-url", "", kRanks},
    {"distributed", "", kRanks},
    {"dr", "", kOneSchedule},
    {"drop", "", "there is no dropout, as in the published recipe; stochastic depth is --drop-path"},
    {"eval", "", "maskedkd_evaluate --data-path SET --weights RUN evaluates"},
    {"eval-crop-ratio", "eval-crop", ""},
    {"inat-category", "", kPacked},
    {"len-num-keep", "keep", ""},
    {"lr-noise", "", kNoNoise},
    {"lr-noise-pct", "", kNoNoise},
    {"lr-noise-std", "", kNoNoise},
    {"maskedkd", "", "the teacher is masked by default (all patches: --mask-criterion all)"},
    {"model-ema", "", "--model-ema-decay 0.99996 keeps the average of the weights"},
    {"model-ema-force-cpu", "", "the average of the weights is on the same device as the weights"},
    {"momentum", "", kOneOptimizer},
    {"no-model-ema", "", "the average of the weights is kept only with --model-ema-decay"},
    {"no-pin-mem", "", kPinned},
    {"no-repeated-aug", "", "--repeats 1 gives a plain shuffle"},
    {"no-train-mode", "", "it turns off stochastic depth, as --drop-path 0 does here"},
    {"num-workers", "workers", ""},
    {"opt", "", kOneOptimizer},
    {"opt-betas", "", "--beta1 and --beta2 take one number each"},
    {"opt-eps", "adam-epsilon", ""},
    {"patience-epochs", "", kOneSchedule},
    {"pin-mem", "", kPinned},
    {"recount", "erasing-count", ""},
    {"remode", "erasing-mode", ""},
    {"repeated-aug", "", "--repeats 3 is the default"},
    {"reprob", "erasing", ""},
    {"resplit", "", "it is for augmentation splits, which neither code has"},
    {"sched", "", kOneSchedule},
    {"src", "", "the simple random crop is not supported; --crop-min-area and --crop-max-area bound the random one"},
    {"start-epoch", "", "the same command resumes from the newest checkpoint, which contains its epoch"},
    {"ThreeAugment", "three-augment", ""},
    {"train-mode", "", "the student is always in training mode while it is trained"},
    {"unscale-lr", "", "--lr is always scaled by --batch-size / 512: multiply it by 512 / --batch-size"},
    {"world-size", "", kRanks},
});

// The same for maskedkd_evaluate.
constexpr auto kEvaluationFlags = std::to_array<OfficialFlag>({
    {"batch-size", "eval-batch", ""},
    {"dist-eval", "", "the images are always shared by all ranks, every image once"},
    {"dist-url", "", kRanks},
    {"data-set", "", kPacked},
    {"distributed", "", kRanks},
    {"eval", "", "this program only evaluates"},
    {"eval-crop-ratio", "eval-crop", ""},
    {"inat-category", "", kPacked},
    {"model-ema", "ema", ""},
    {"num-workers", "workers", ""},
    {"resume", "weights", ""},
    {"world-size", "", kRanks},
});

// Flags that maskedkd_train has under the same name and that mean nothing in an evaluation.
constexpr auto kSameInTraining = std::to_array<std::string_view>({"aa",
                                                                  "clip-grad",
                                                                  "color-jitter",
                                                                  "cutmix",
                                                                  "cutmix-minmax",
                                                                  "distillation-alpha",
                                                                  "drop-path",
                                                                  "distillation-tau",
                                                                  "distillation-type",
                                                                  "epochs",
                                                                  "finetune",
                                                                  "input-size",
                                                                  "lr",
                                                                  "min-lr",
                                                                  "mixup",
                                                                  "mixup-mode",
                                                                  "mixup-prob",
                                                                  "mixup-switch-prob",
                                                                  "output-dir",
                                                                  "model-ema-decay",
                                                                  "seed",
                                                                  "smoothing",
                                                                  "teacher-model",
                                                                  "teacher-path",
                                                                  "warmup-lr",
                                                                  "train-interpolation",
                                                                  "warmup-epochs",
                                                                  "weight-decay"});

const OfficialFlag* find_flag(std::span<const OfficialFlag> flags, const std::string& name) {
  const auto found = std::find_if(flags.begin(), flags.end(), [&](const OfficialFlag& it) { return it.name == name; });
  return found == flags.end() ? nullptr : &*found;
}

std::string answer(const OfficialFlag& flag) {
  if (!flag.replacement.empty()) {
    return fmt::format("the official code's --{} is --{} here", flag.name, flag.replacement);
  }
  return fmt::format("leave out this flag of the official code: {}", flag.advice);
}

}  // namespace

std::span<const OfficialFlag> official_flags() { return kFlags; }

std::string official_advice_for_training(const std::string& name) {
  const OfficialFlag* flag = find_flag(kFlags, name);
  return flag == nullptr ? "" : answer(*flag);
}

std::string official_advice_for_evaluation(const std::string& name) {
  if (const OfficialFlag* flag = find_flag(kEvaluationFlags, name)) {
    return answer(*flag);
  }
  const bool trains = find_flag(kFlags, name) != nullptr ||
                      std::find(kSameInTraining.begin(), kSameInTraining.end(), name) != kSameInTraining.end();
  return trains ? fmt::format("leave out --{}: it is for training and has no effect on an evaluation", name) : "";
}

}  // namespace maskedkd
