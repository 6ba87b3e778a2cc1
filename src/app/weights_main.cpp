// maskedkd_weights: lists the known models, shows what a file of weights holds and which model it is, checks whether it
// fits one, and converts it to another repository's names. Runs without MPI.
#include "given_weights.hpp"
#include "maskedkd/base/error.hpp"
#include "maskedkd/base/log.hpp"
#include "maskedkd/base/quoted_name.hpp"
#include "maskedkd/cli/commands.hpp"
#include "maskedkd/cli/options.hpp"
#include "maskedkd/cli/run_main.hpp"
#include "maskedkd/io/posix.hpp"
#include "maskedkd/io/unfinished.hpp"
#include "maskedkd/model/description.hpp"
#include "maskedkd/model/registry.hpp"
#include "maskedkd/model/weight_names.hpp"
#include "maskedkd/model/weights.hpp"
#include "maskedkd/train/weights_source.hpp"

#include <ATen/ops/isfinite.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstdio>

namespace maskedkd {
namespace {

namespace fs = std::filesystem;

constexpr const char* kPrefixHelp =
    "prefix of the model's names where the file has several models, say teacher.; by default the likeliest";
constexpr std::size_t kMostLines = 20;  // for tensors that do not fit; where there are more, they are only counted

constexpr const char* kFileHelp = "a safetensors file, a checkpoint, or a run's folder (its best checkpoint)";

int list(int argc, const char* const* argv) {
  CommandLine line("maskedkd_weights list", "Lists every model that --model and --teacher-model know.",
                   "maskedkd_weights list");
  if (!line.parse(argc, argv)) {
    std::fputs(line.help().c_str(), stdout);
    return 0;
  }
  constexpr const char* kRow = "{:<33} {:<14} {:>5} {:>7} {:>5} {:>5} {:>5} {:>12}\n";
  fmt::print(kRow, "model", "alias", "input", "patches", "width", "depth", "heads", "parameters");
  for (const PublishedName& published : published_models()) {
    const VitOptions model = find_model(published.name);
    const std::string depth =
        model.is_cait() ? fmt::format("{}+{}", model.depth, model.num_class_blocks) : std::to_string(model.depth);
    fmt::print(kRow, published.name, published.alias, model.input_size, model.num_patches(), model.width, depth,
               model.num_heads, grouped(count_parameters(model)));
  }
  return 0;
}

// What is worth knowing about the file's names: prefixes, other models beside this one, another library's names.
void print_about_names(const GivenWeights& weights) {
  const std::vector<std::string> likely = identify_model(weights.tensors);
  if (likely.empty()) {
    std::vector<std::string> names;
    for (const auto& [name, info] : weights.tensors) {
      names.push_back(name);
    }
    if (const std::string foreign = foreign_names(names); !foreign.empty()) {
      fmt::print("note: these are {}\n", foreign);
    }
    return;
  }
  const VitOptions model = published_model(likely.front(), num_classes_of(weights.tensors));
  for (const std::string& note : match_weights(model, weights.tensors, {}).about_names) {
    fmt::print("note: {}\n", note);
  }
}

// With a tab after the folder's name, which would otherwise end at its first blank.
void print_class_map(const GivenWeights& weights) {
  if (weights.class_names.empty()) {
    throw usage_error(fmt::format("{} has no class names", weights.file.string()),
                      "maskedkd_pack info of the set that it was trained on has them");
  }
  for (const std::string& name : weights.class_names) {
    fmt::print("{0}{1}{2}\n", name, name.find(' ') == std::string::npos ? "" : "\t",
               name.find(' ') == std::string::npos ? "" : name);
  }
}

int show(int argc, const char* const* argv) {
  fs::path path;
  std::string prefix;
  bool classes = false;
  CommandLine line("maskedkd_weights show", "Lists the tensors of a file, and says which model they are.",
                   "maskedkd_weights show runs/deit_tiny");
  line.positional("FILE", path, kFileHelp)
      .group("Names")
      .option("prefix PREFIX", prefix, kPrefixHelp)
      .group("Output")
      .option("classes", classes, "print only the names of the classes, one a line, as --class-map takes them");
  if (!line.parse(argc, argv)) {
    std::fputs(line.help().c_str(), stdout);
    return 0;
  }
  const GivenWeights weights = open_weights(path, prefix);
  if (classes) {
    print_class_map(weights);
    return 0;
  }
  std::vector<std::string> names;
  std::size_t name_width = 0;
  std::int64_t num_parameters = 0, num_bytes = 0;
  for (const auto& [name, info] : weights.tensors) {
    names.push_back(name);
    name_width = std::max(name_width, printable_name(name).size());
    std::int64_t elements = 1;
    for (const std::int64_t side : info.shape) {
      elements *= side;
    }
    num_parameters += elements;
    num_bytes += elements * static_cast<std::int64_t>(at::elementSize(info.dtype));
  }
  std::sort(names.begin(), names.end(),
            [](const auto& a, const auto& b) { return natural_sort_key(a) < natural_sort_key(b); });
  for (const std::string& name : names) {
    const TensorInfo& info = weights.tensors.at(name);
    fmt::print("{:<{}}  {:<8}  {}\n", printable_name(name), name_width, dtype_text(info.dtype), shape_text(info.shape));
  }
  fmt::print("{}: {} tensors, {} parameters, {} bytes\nmodel: {}\n", weights.file.string(), names.size(),
             grouped(num_parameters), grouped(num_bytes), model_text(weights));
  fmt::print("classes: {}\n", classes_text(weights.class_names));
  print_about_names(weights);
  return 0;
}

// The file's parameters in timm's order, under the style's names.
struct Conversion {
  std::string model;
  SafetensorsMetadata description;  // of a model that is not published, whose sizes no reader could know
  std::vector<std::string> about_names;
  std::vector<std::pair<std::string, std::string>> names;  // the file's, the new
};

Conversion plan_conversion(const GivenWeights& weights, const std::string& model_name, NameStyle style) {
  Conversion result;
  VitOptions model;
  if (!model_name.empty()) {
    result.model = model_name;
    model = published_model(model_name, num_classes_of(weights.tensors));
  } else if (weights.declared_model) {
    result.model = "its checkpoint's model";
    model = *weights.declared_model;
    if (identify_model(weights.tensors).empty()) {
      result.description = model_metadata(model);
    }
  } else if (const auto names = identify_model(weights.tensors); !names.empty()) {
    result.model = fmt::format("{}", fmt::join(names, " or "));
    model = published_model(names.front(), num_classes_of(weights.tensors));
  } else {
    throw usage_error(fmt::format("{} is not a published model; the nearest is {}", weights.file.string(),
                                  nearest_published(weights.tensors)),
                      "maskedkd_weights check lists all differences");
  }
  WeightsMatch match = match_weights(model, weights.tensors, {});
  const std::string changed = match.changes.empty() ? "" : match.changes.front();  // convert changes no value
  if (!match.fits() || !changed.empty()) {
    throw usage_error(
        fmt::format("{} is not {}: {}", weights.file.string(), result.model, match.fits() ? changed : match.problems()),
        mismatch_hint(model, weights.tensors));
  }
  result.about_names = std::move(match.about_names);
  for (const auto& [parameter, shape] : parameter_shapes(model)) {
    result.names.emplace_back(match.source_of.at(parameter), styled_name(parameter, style, model));
  }
  return result;
}

void check_target(const fs::path& source, const fs::path& target, bool overwrite) {
  std::error_code unreachable;
  if (fs::exists(target, unreachable)) {
    if (!fs::is_regular_file(target, unreachable)) {
      throw usage_error(fmt::format("{} is not a file", target.string()), "name the file to write");
    }
    if (fs::equivalent(source, target, unreachable)) {
      throw usage_error(fmt::format("OUT is IN, {}", source.string()), "choose another name");
    }
    if (!overwrite) {
      throw usage_error(fmt::format("{} exists already", target.string()), "--overwrite replaces it");
    }
  }
  if (const fs::path folder = fs::absolute(target).parent_path(); !fs::is_directory(folder, unreachable)) {
    throw usage_error(fmt::format("the folder {} does not exist", folder.string()));
  }
}

// The file appears complete or not at all.
void write_atomically(const fs::path& target, const NamedTensors& tensors, const ClassNames& class_names,
                      SafetensorsMetadata metadata) {
  const fs::path final_path = fs::absolute(target), unfinished = unfinished_path(final_path);
  metadata.emplace("format", "pt");
  if (!class_names.empty()) {
    metadata.merge(class_metadata(class_names));
  }
  try {
    write_safetensors(unfinished, tensors, metadata);
    fs::rename(unfinished, final_path);
  } catch (const std::exception& error) {
    std::error_code ignored;
    fs::remove(unfinished, ignored);
    // Messages name the file that was asked for, not the temporary one.
    if (const auto* failed_call = dynamic_cast<const FileError*>(&error)) {
      throw FileError("can't write", final_path, failed_call->reason());
    }
    if (const auto* failed_rename = dynamic_cast<const fs::filesystem_error*>(&error)) {
      throw FileError("can't write", final_path, failed_rename->code().value());
    }
    throw;
  }
  sync_directory(final_path.parent_path());
}

int convert(int argc, const char* const* argv) {
  fs::path in, out;
  NameStyle style = NameStyle::timm;
  std::string style_name, model_name, prefix;
  bool ema = false, overwrite = false;
  CommandLine line(
      "maskedkd_weights convert",
      "Writes the weights of IN under timm's names or under those of Meta's repositories. Values, dtypes and "
      "class names stay as they are.",
      "maskedkd_weights convert runs/deit_tiny deit_tiny.safetensors --to timm");
  line.positional("IN", in, kFileHelp)
      .positional("OUT", out, "safetensors file to write")
      .group("Conversion")
      .option("to timm|meta", "", "whose names to write",
              [&](const std::string& text) { style = parse_name_style(style_name = text); })
      .option("model NAME", model_name, "published name of the model; by default recognised from the weights")
      .option("prefix PREFIX", prefix, kPrefixHelp)
      .option("ema", ema, "convert the checkpoint's moving average")
      .option("overwrite", overwrite, "replace OUT where it exists")
      .required("to");
  if (!line.parse(argc, argv)) {
    std::fputs(line.help().c_str(), stdout);
    return 0;
  }
  GivenWeights weights = open_weights(in, prefix);
  if (ema) {
    weights.file = average_beside(weights.file);
    weights.tensors = read_safetensors_header(weights.file).tensors;
  }
  check_target(weights.file, out, overwrite);
  const Conversion conversion = plan_conversion(weights, model_name, style);
  const SafetensorsFile content = read_safetensors(weights.file);
  NamedTensors renamed;
  std::size_t num_bytes = 0;
  for (const auto& [old_name, new_name] : conversion.names) {
    renamed.emplace_back(new_name, content.tensors.at(old_name));
    num_bytes += renamed.back().second.nbytes();
  }
  write_atomically(out, renamed, class_names_in(content.metadata), conversion.description);
  for (const std::string& note : conversion.about_names) {
    fmt::print("note: {}\n", note);
  }
  fmt::print("{}: {} tensors of {} under {}'s names, {} bytes\n", out.string(), renamed.size(), conversion.model,
             style_name, grouped(static_cast<std::int64_t>(num_bytes)));
  return 0;
}

// Warns about NaN and infinity, which are no reason to refuse the file.
void warn_of_values(const fs::path& file) {
  auto tensors = read_safetensors(file).tensors;
  while (!tensors.empty()) {  // one at a time, so that a mapped tensor's pages are freed with it
    const auto node = tensors.extract(tensors.begin());
    const std::string name = printable_name(node.key());
    const at::Tensor& tensor = node.mapped();
    if (at::isFloatingType(tensor.scalar_type())) {
      const std::int64_t wrong = tensor.numel() - at::isfinite(tensor).sum().item<std::int64_t>();
      if (wrong > 0) {
        spdlog::warn("{}: {} of {} values are NaN or infinite", name, wrong, tensor.numel());
      }
    }
  }
}

void print_problems(const WeightsMatch& match,
                    const std::vector<std::pair<std::string, std::vector<std::int64_t>>>& shapes,
                    const TensorInfos& given) {
  for (const std::string& name : match.missing) {
    const auto wanted = std::find_if(shapes.begin(), shapes.end(), [&](const auto& it) { return it.first == name; });
    fmt::print("missing: {} {}\n", name, shape_text(wanted->second));
  }
  for (const std::string& name : match.unexpected) {
    fmt::print("unexpected: {} {}\n", printable_name(name), shape_text(given.at(name).shape));
  }
  for (const std::string& problem : match.wrong) {
    fmt::print("wrong: {}\n", problem);
  }
}

std::string problem_counts(const WeightsMatch& match, std::size_t num_parameters) {
  return match.num_problems() > kMostLines
             ? fmt::format("the model has {} tensors; {}", num_parameters, match.problems())
             : fmt::format("{} tensors missing, {} unexpected, {} wrong", match.missing.size(), match.unexpected.size(),
                           match.wrong.size());
}

int check(int argc, const char* const* argv) {
  fs::path path;
  std::string model_name, prefix;
  int num_classes = 0;
  LoadOptions how;
  CommandLine line("maskedkd_weights check",
                   "Says whether weights fit a model, and names the tensors that are missing, unexpected, wrongly "
                   "shaped, or not finite.",
                   "maskedkd_weights check teacher.safetensors --model deit3_small");
  line.positional("FILE", path, kFileHelp)
      .group("Model")
      .option("model NAME", model_name, "a published name (maskedkd_weights list)")
      .option("num-classes", num_classes, "classes; 0: as many as the file's head has")
      .option("prefix PREFIX", prefix, kPrefixHelp)
      .option("reinit-head", how.reinit_head, "the head need not fit, as for a student that starts with --reinit-head")
      .required("model");
  if (!line.parse(argc, argv)) {
    std::fputs(line.help().c_str(), stdout);
    return 0;
  }
  if (num_classes < 0) {
    throw usage_error(fmt::format("--num-classes {} must not be below 0", num_classes));
  }
  find_model(model_name);  // before anything slow
  const GivenWeights weights = open_weights(path, prefix);
  const VitOptions model = published_model(model_name, num_classes > 0 ? num_classes : num_classes_of(weights.tensors));
  model.validate();
  const WeightsMatch match = match_weights(model, weights.tensors, how);
  if (match.num_problems() <= kMostLines) {
    print_problems(match, parameter_shapes(model), weights.tensors);
  }
  for (const auto* notes : {&match.about_names, &match.changes}) {
    for (const std::string& note : *notes) {
      fmt::print("note: {}\n", note);
    }
  }
  std::fflush(stdout);
  warn_of_values(weights.file);
  if (!match.fits()) {
    throw usage_error(fmt::format("{} does not fit {} with {} classes: {}", weights.file.string(), model_name,
                                  model.num_classes, problem_counts(match, parameter_shapes(model).size())),
                      mismatch_hint(model, weights.tensors));
  }
  fmt::print("{} fits {} with {} classes\n", weights.file.string(), model_name, model.num_classes);
  return 0;
}

int run(int argc, char** argv) {
  const CommandSet commands("maskedkd_weights", "Inspects and converts weights of published models and of runs.",
                            {{"list", "every known model with its sizes", list},
                             {"show", "the tensors of a file, and which model it is", show},
                             {"convert", "write a file under timm's names or Meta's", convert},
                             {"check", "whether a file fits a model", check}});
  try {
    return commands.run(argc, argv);
  } catch (const Error& error) {  // every failure here concerns a file that the user named
    throw Error(error.what(), error.hint(), ExitCode::usage, error.where());
  }
}

}  // namespace
}  // namespace maskedkd

int main(int argc, char** argv) { return maskedkd::run_main(argc, argv, maskedkd::run); }
