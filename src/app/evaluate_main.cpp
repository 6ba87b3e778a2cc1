// maskedkd_evaluate: accuracy of weights on a packed set.
#include "maskedkd/app/contact_sheet.hpp"
#include "maskedkd/app/image_answers.hpp"
#include "maskedkd/app/mask_sheet.hpp"
#include "maskedkd/app/official_flags.hpp"
#include "maskedkd/base/error.hpp"
#include "maskedkd/base/log.hpp"
#include "maskedkd/cli/options.hpp"
#include "maskedkd/cli/run_main.hpp"
#include "maskedkd/comm/mpi_session.hpp"
#include "maskedkd/comm/threads.hpp"
#include "maskedkd/comm/topology.hpp"
#include "maskedkd/data/tensor_memory.hpp"
#include "maskedkd/io/posix.hpp"
#include "maskedkd/io/safetensors.hpp"
#include "maskedkd/model/weights.hpp"
#include "maskedkd/train/class_check.hpp"
#include "maskedkd/train/evaluator.hpp"
#include "maskedkd/train/run_data.hpp"
#include "maskedkd/train/train_options.hpp"
#include "maskedkd/train/weights_source.hpp"

#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <cstdio>
#include <cstdlib>
#include <optional>

namespace maskedkd {
namespace {

constexpr std::size_t kMostImageFiles = 256;  // they are all in memory at once

struct EvaluateCommand {
  std::filesystem::path data_path, weights, output;
  std::vector<std::filesystem::path> images;
  std::string model;
  bool ema = false, ignore_class_names = false;
  int num_classes = 0;
  Precision precision = Precision::fp32;
  EvaluationOptions evaluation;
  DeviceChoice device = DeviceChoice::automatic;
  int threads = 0;
  MaskSheetOptions masks;

  void bind(CommandLine& line) {
    line.group("Evaluation")
        .option("data-path", data_path, "folder of packed images (maskedkd_pack), or one that holds such a folder val")
        .option(
            "image FILE...", images,
            "instead of --data-path: JPEG and PNG files, for each of which the five most probable classes are printed")
        .option("weights", weights, "a safetensors file, a checkpoint, or a run's folder (its best checkpoint)")
        .option("model NAME", model,
                "published name of the model; not needed where the weights are a checkpoint of this program")
        .option(
            "num-classes", num_classes,
            "--model: number of classes of the weights, at least that of the data, whose labels stay the same; 0: as "
            "many as the data has")
        .option("ema", ema, "evaluate the checkpoint's moving average")
        .option("ignore-class-names", ignore_class_names,
                "where the class names of the weights differ from the set's, only warn: label 0 is class 0 of both")
        .option("output", output, "JSON file to write the figures to")
        .option("precision fp32|bf16|fp16", "",
                "of matrix products; by default that of the run that the weights come from, fp32 for other weights",
                [this](const std::string& text) { precision = parse_precision(text); })
        .option("reference-kernels", evaluation.reference_kernels,
                "compute the model with LibTorch's operators alone; by default as the run")
        .option("eval-crop SHARE", evaluation.augment.evaluation_crop,
                "share of the shorter edge that the crop covers; by default the run's")
        .option("eval-batch", evaluation.batch, "images of a forward pass; by default the run's")
        .option("workers", evaluation.num_workers, "threads of each rank that read and decode; 0: by the rank's cores")
        .option("prefetch", evaluation.prefetch, "batches that each rank prepares ahead")
        .group("Picture")
        .option("masks", masks.output, "PNG file to draw: images, each beside what a teacher would see of it")
        .option("keep N|SHARE", masks.keep.to_string(),
                "patches that the teacher would see: a number, or a share as 0.5",
                [this](const std::string& text) { masks.keep = KeepCount::parse(text, "keep"); })
        .option("mask-images", masks.num_images,
                "number of images of the packed set in the picture, spread evenly over it")
        .group("Run")
        .option("device auto|cpu|cuda", "auto", "auto: a GPU for each rank where there are GPUs",
                [this](const std::string& text) { device = parse_device_choice(text); })
        .option("threads", threads,
                "CPU threads of each rank; 0: OMP_NUM_THREADS, or the node's cores divided by its ranks")
        .required("weights");
  }
};

void write_figures(const EvaluateCommand& command, const std::filesystem::path& file, const EvaluationResult& result) {
  const nlohmann::ordered_json json = {{"weights", file.string()},
                                       {"data_path", command.data_path.string()},
                                       {"eval_crop", command.evaluation.augment.evaluation_crop},
                                       {"eval_batch", command.evaluation.batch},
                                       {"precision", to_string(command.precision)},
                                       {"num_images", result.num_images},
                                       {"test_loss", result.loss},
                                       {"test_acc1", result.accuracy_top1},
                                       {"test_acc5", result.accuracy_top5},
                                       {"images_per_second", result.images_per_second}};
  write_file_atomically(command.output, json.dump(2) + "\n");
}

// Options that are not given are those of the run that the weights come from, so that the figures are those of its log.
void take_options_of_run(const CommandLine& line, const std::filesystem::path& file, EvaluateCommand& command) {
  const auto of_run = [&](const char* flag) { return line.given(flag) ? "" : option_of_run(file, flag); };
  if (const std::string crop = of_run("eval-crop"); !crop.empty()) {
    command.evaluation.augment.evaluation_crop = std::atof(crop.c_str());
  }
  if (const std::string batch = of_run("eval-batch"); !batch.empty()) {
    command.evaluation.batch = std::atoi(batch.c_str());
  }
  if (const std::string precision = of_run("precision"); !precision.empty()) {
    command.precision = parse_precision(precision);
  }
  command.evaluation.reference_kernels |= of_run("reference-kernels") == "true";
}

void check_numbers(const EvaluateCommand& command) {
  if (command.threads < 0) {
    throw usage_error(fmt::format("--threads {} must not be below 0", command.threads));
  }
  if (command.num_classes < 0) {
    throw usage_error(fmt::format("--num-classes {} must not be below 0", command.num_classes));
  }
}

struct OpenedModel {
  std::filesystem::path file;
  Vit model;
};

// set: nullptr where there are only image files. Collective.
OpenedModel open_model(const MpiSession& session, const EvaluateCommand& command, const ShardSet* set) {
  // One file for all ranks: the best checkpoint of a run that is still training changes.
  std::filesystem::path file =
      session.broadcast(session.rank() == 0 ? weights_file(command.weights, "--weights: ").string() : "");
  const std::int64_t num_classes = command.num_classes > 0 ? command.num_classes
                                   : set != nullptr        ? set->num_classes()
                                                           : num_classes_of(read_safetensors_header(file).tensors);
  Vit model(weights_model(file, command.model, "model", static_cast<int>(num_classes)));
  if (command.num_classes > 0 && command.num_classes != model.options().num_classes) {
    throw usage_error(fmt::format("--num-classes {}: {} has {} classes", command.num_classes, file.string(),
                                  model.options().num_classes),
                      "leave it out: the checkpoint knows it");
  }
  if (command.ema) {
    file = average_beside(file);
  }
  for (const std::string& note : model.load(read_safetensors(file).tensors, file.string())) {
    log_on_rank_0(spdlog::level::warn, note);
  }
  return {std::move(file), std::move(model)};
}

// On rank 0, as the others have nothing to do.
void answer_images(const OpenedModel& opened, at::Device device, const EvaluateCommand& command) {
  const at::Tensor pixels = load_image_files(command.images, command.evaluation.augment);
  const ClassNames names = class_names_in(read_safetensors_header(opened.file).metadata);
  std::fputs(
      answers_text(opened.model, device, command.evaluation.compute_dtype, pixels, command.images, names).c_str(),
      stdout);
  if (!command.masks.output.empty()) {
    write_mask_sheet(opened.model, device, pixels, command.masks);
  }
}

void report_result(const OpenedModel& opened, at::Device device, const ShardSet& set, const EvaluateCommand& command,
                   const EvaluationResult& result) {
  fmt::print("{}: {} images, crop {}, {}, acc@1 {:.2f} %, acc@5 {:.2f} %, loss {:.4f}, {:.0f} images/s\n",
             opened.file.string(), result.num_images, command.evaluation.augment.evaluation_crop,
             to_string(command.precision), result.accuracy_top1, result.accuracy_top5, result.loss,
             result.images_per_second);
  if (!command.output.empty()) {
    write_figures(command, opened.file, result);
  }
  if (!command.masks.output.empty()) {
    write_mask_sheet(opened.model, device,
                     load_spread_images(set, command.evaluation.augment, command.masks.num_images), command.masks);
  }
}

int evaluate_weights(const MpiSession& session, int argc, char** argv) {
  EvaluateCommand command;
  CommandLine line(
      "maskedkd_evaluate",
      "Evaluates a model's weights on a packed set, every image exactly once; or names the classes that it "
      "finds in single images (--image).",
      "mpiexec -n 2 maskedkd_evaluate --data-path packed/val --weights runs/deit_tiny");
  command.evaluation.num_workers = 0;
  line.advise_unknown(official_advice_for_evaluation);
  command.bind(line);
  if (!line.parse(argc, argv)) {
    if (session.rank() == 0) {
      std::fputs(line.help().c_str(), stdout);
    }
    return 0;
  }
  check_numbers(command);
  check_png_name(command.masks.output, "masks");
  std::optional<ShardSet> set;
  if (command.images.empty()) {
    if (command.data_path.empty()) {
      throw usage_error("--data-path is missing", "give a packed set, or image files with --image");
    }
    command.data_path = find_set(command.data_path, "val");
    set.emplace(open_set(session, command.data_path));
  } else {
    line.refuse_given({"data-path", "output", "mask-images", "workers", "prefetch", "ignore-class-names"}, "--image",
                      "image files are read instead of a packed set");
    if (command.images.size() > kMostImageFiles) {
      throw usage_error(fmt::format("--image: {} files are more than {}", command.images.size(), kMostImageFiles),
                        "pack them with maskedkd_pack and evaluate the set");
    }
  }
  OpenedModel opened = open_model(session, command, set ? &*set : nullptr);
  if (set) {
    check_classes_of_weights(opened.file, *set, on_mismatch(command.ignore_class_names));
  }
  const at::Device device = choose_device(session, command.device);
  opened.model.to_device(device);
  at::set_num_threads(command.threads > 0 ? command.threads : threads_for_rank(session));
  if (command.model.empty()) {
    take_options_of_run(line, opened.file, command);
  }
  command.evaluation.augment.input_size = opened.model.options().input_size;
  command.evaluation.compute_dtype = scalar_type(command.precision);
  if (command.evaluation.num_workers == 0) {
    command.evaluation.num_workers = loader_threads_for_rank(session, device.is_cuda());
  }
  command.evaluation.validate();
  for (const std::filesystem::path& written : {command.output, command.masks.output}) {
    if (!written.empty() && session.rank() == 0) {
      create_writable_directory(std::filesystem::absolute(written).parent_path());
    }
  }
  command.masks.keep.of(opened.model.options().num_patches(), "keep");  // throws before the long part
  if (!set) {
    if (session.rank() == 0) {
      answer_images(opened, device, command);
    }
    return 0;
  }
  const EvaluationResult result = *evaluate(session, opened.model, device, *set, command.evaluation, "evaluating");
  if (session.rank() == 0) {
    report_result(opened, device, *set, command, result);
  }
  return 0;
}

}  // namespace
}  // namespace maskedkd

int main(int argc, char** argv) {
  maskedkd::reuse_tensor_memory();
  return maskedkd::run_main(argc, argv, maskedkd::evaluate_weights);
}
