#include "given_weights.hpp"

#include "maskedkd/base/error.hpp"
#include "maskedkd/base/quoted_name.hpp"
#include "maskedkd/checkpoint/run_layout.hpp"
#include "maskedkd/io/safetensors.hpp"
#include "maskedkd/model/description.hpp"
#include "maskedkd/model/registry.hpp"
#include "maskedkd/model/weight_names.hpp"
#include "maskedkd/train/weights_source.hpp"

#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>

namespace maskedkd {

namespace fs = std::filesystem;

namespace {

// The tensors whose names begin with the prefix, under their names in the file.
TensorInfos with_prefix(const TensorInfos& tensors, const std::string& given, const std::string& file) {
  std::string prefix = without_wrappers(given);
  if (!prefix.empty() && !prefix.ends_with('.')) {
    prefix += '.';
  }
  TensorInfos chosen;
  std::vector<std::string> names;
  for (const auto& [name, info] : tensors) {
    names.push_back(name);
    if (without_wrappers(name).starts_with(prefix)) {
      chosen.emplace(name, info);
    }
  }
  if (chosen.empty()) {
    std::vector<std::string> prefixes;
    for (const NamePrefix& found : find_prefixes(names)) {
      prefixes.push_back(found.as_given.empty() ? "none" : printable_name(found.as_given));
    }
    throw usage_error(fmt::format("--prefix {}: no tensor of {} has it", given, file),
                      fmt::format("the prefixes of its models: {}", fmt::join(prefixes, ", ")));
  }
  return chosen;
}

}  // namespace

GivenWeights open_weights(const fs::path& path, const std::string& prefix) {
  GivenWeights weights;
  std::error_code unreachable;
  if (!fs::exists(path, unreachable)) {
    throw usage_error(fmt::format("{} does not exist", path.string()));
  }
  weights.file = weights_file(path);
  SafetensorsHeader header = read_safetensors_header(weights.file);
  weights.tensors = std::move(header.tensors);
  weights.class_names = class_names_in(header.metadata);
  if (!prefix.empty()) {
    weights.tensors = with_prefix(weights.tensors, prefix, weights.file.string());
  }
  weights.declared_model = fs::exists(weights.file.parent_path() / kStateName, unreachable)
                               ? weights_model(weights.file, "", "model", 0)
                               : model_in(header.metadata, weights.file.string());
  return weights;
}

VitOptions published_model(const std::string& name, std::int64_t num_classes) {
  VitOptions model = find_model(name);
  if (num_classes > 0) {
    model.num_classes = static_cast<int>(num_classes);
  }
  return model;
}

std::string model_text(const GivenWeights& weights) {
  const std::int64_t classes = num_classes_of(weights.tensors);
  if (const auto names = identify_model(weights.tensors); !names.empty()) {
    return fmt::format("{}, {} classes{}", fmt::join(names, " or "), classes,
                       names.size() > 1 ? " (these differ in their training only)" : "");
  }
  if (weights.declared_model && match_weights(*weights.declared_model, weights.tensors, {}).fits()) {
    const VitOptions& own = *weights.declared_model;
    return fmt::format(
        "not a published one: input {0} x {0}, patches of {1} x {1}, width {2}, depth {3}, {4} heads, {5} classes",
        own.input_size, own.patch_size, own.width, own.depth, own.num_heads, own.num_classes);
  }
  LoadOptions how;
  how.reinit_head = true;
  if (auto names = identify_model(weights.tensors, how); !names.empty()) {
    if (weights.tensors.count("mask_token") != 0) {  // MAE's pretraining; DeiT's and timm's encoders look the same
      std::erase_if(names, [](const std::string& name) { return !find_model(name).average_pool; });
    }
    return fmt::format("the encoder of {}, without a head", fmt::join(names, " or "));
  }
  return "not a published one";
}

std::string classes_text(const ClassNames& names) {
  constexpr std::size_t kShown = 5;
  if (names.empty()) {
    return "their names are not in the file";
  }
  std::string text = fmt::format("{}, named ", names.size());
  for (std::size_t i = 0; i < std::min(kShown, names.size()); ++i) {
    text += fmt::format("{}{}", i == 0 ? "" : ", ", quoted_name(names[i]));
  }
  return text + (names.size() > kShown ? ", ... (all: --classes)" : "");
}

std::string nearest_published(const TensorInfos& tensors) {
  std::size_t fewest = std::string::npos;
  std::string text;
  for (const PublishedName& published : published_models()) {
    const WeightsMatch match = match_weights(published_model(published.name, num_classes_of(tensors)), tensors, {});
    if (match.num_problems() < fewest) {
      fewest = match.num_problems();
      text = fmt::format("{}: {}", published.name, match.problems());
    }
  }
  return text;
}

std::string grouped(std::int64_t number) {
  std::string text = std::to_string(number);
  for (std::size_t end = text.size(); end > 3; end -= 3) {
    text.insert(end - 3, ",");
  }
  return text;
}

std::string dtype_text(at::ScalarType dtype) {
  switch (dtype) {
    case at::kFloat:
      return "float32";
    case at::kDouble:
      return "float64";
    case at::kHalf:
      return "float16";
    case at::kBFloat16:
      return "bfloat16";
    case at::kLong:
      return "int64";
    case at::kInt:
      return "int32";
    case at::kByte:
      return "uint8";
    default:
      return "bool";
  }
}

std::string natural_sort_key(const std::string& name) {
  constexpr std::size_t kDigits = 8;
  std::string key, digits;
  for (const char letter : name + '\0') {
    if (std::isdigit(static_cast<unsigned char>(letter)) != 0) {
      digits += letter;
      continue;
    }
    if (!digits.empty()) {
      key += fmt::format("{:0>{}}", digits, kDigits);
      digits.clear();
    }
    key += letter;
  }
  return key;
}

}  // namespace maskedkd
