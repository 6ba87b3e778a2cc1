#include "maskedkd/model/weights.hpp"

#include "maskedkd/base/enum_names.hpp"
#include "maskedkd/base/error.hpp"
#include "maskedkd/base/quoted_name.hpp"
#include "maskedkd/model/registry.hpp"
#include "maskedkd/model/weight_names.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/ops/_upsample_bicubic2d_aa.h>
#include <ATen/ops/cat.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <set>

namespace maskedkd {
namespace {

constexpr std::int64_t kMostClasses = 10'000'000;  // as VitOptions::validate has it

const std::string kModule = "module.";  // before CaiT's names in Meta's files, and what DataParallel inserts anywhere

// `text` with the ending `from` replaced by `to`; nullopt where it ends otherwise.
std::optional<std::string> with_ending(const std::string& text, const std::string& from, const std::string& to) {
  return text.ends_with(from) ? std::optional(text.substr(0, text.size() - from.size()) + to) : std::nullopt;
}

// timm's name of what a file calls `name` behind its prefix. CaiT's gamma_1 and gamma_2 are timm's too; of others they
// are Meta's.
std::string parameter_name(std::string name, const VitOptions& model) {
  for (std::size_t at = name.find(kModule); at != std::string::npos; at = name.find(kModule, at + 1)) {
    if (at == 0 || name[at - 1] == '.') {
      name.erase(at, kModule.size());
    }
  }
  if (!model.is_cait()) {
    for (const char digit : {'1', '2'}) {
      if (const auto renamed =
              with_ending(name, std::string(".gamma_") + digit, std::string(".ls") + digit + ".gamma")) {
        return *renamed;
      }
    }
  }
  return name;
}

std::vector<std::string> names_of(const TensorInfos& given) {
  std::vector<std::string> names;
  for (const auto& [name, info] : given) {
    names.push_back(name);
  }
  return names;
}

// The first two of the names, for a message.
std::string examples(const std::vector<std::string>& names) {
  std::string text = printable_name(names.front());
  return names.size() > 1 ? text + ", " + printable_name(names[1]) : text;
}

bool is_head(const std::string& parameter) {
  return parameter.starts_with("head.") || parameter.starts_with("head_dist.");
}

// "head.bias" for "module.head.bias" beside the prefix "module.backbone.": of a module that holds an encoder and its
// head. Empty where `bare` is no such name.
std::string head_beside(const std::string& bare, const std::string& prefix) {
  const std::size_t head = bare.rfind("head");
  return head != std::string::npos && head < prefix.size() && prefix.starts_with(bare.substr(0, head)) &&
                 (head == 0 || bare[head - 1] == '.') && is_head(bare.substr(head))
             ? bare.substr(head)
             : std::string();
}

// Tensors that only MAE's pretraining has.
bool is_decoder(const std::string& parameter) { return parameter.starts_with("decoder_") || parameter == "mask_token"; }

// Edge of the square grid whose positions these are; nullopt: no such grid.
std::optional<std::int64_t> grid_of_positions(const std::vector<std::int64_t>& shape, std::int64_t front) {
  if (shape.size() != 3 || shape[0] != 1 || shape[1] <= front) {
    return std::nullopt;
  }
  const std::int64_t patches = shape[1] - front;
  const auto edge = static_cast<std::int64_t>(std::llround(std::sqrt(static_cast<double>(patches))));
  return edge * edge == patches ? std::optional(edge) : std::nullopt;
}

// Makes one match: goes through the names of the file first, then through the parameters.
class Matcher {
 public:
  Matcher(const VitOptions& model, const TensorInfos& given, const LoadOptions& how, const NamePrefix& prefix)
      : model_(model), given_(given), how_(how), prefix_(prefix), shapes_(parameter_shapes(model)) {
    for (const auto& [parameter, shape] : shapes_) {
      known_.insert(parameter);
    }
  }

  WeightsMatch run() {
    for (const auto& [name, info] : given_) {
      const std::string bare = without_wrappers(name);
      if (bare.starts_with(prefix_.bare)) {
        take_name(name, bare.substr(prefix_.bare.size()));
      } else {
        beside_.emplace_back(bare, name);
      }
    }
    take_heads_beside();
    for (const auto& [parameter, shape] : shapes_) {
      match_.missing.push_back(parameter);  // until it is found
      if (starts_anew(parameter) || fits(parameter, shape)) {
        match_.missing.pop_back();
      }
    }
    if (how_.reinit_head) {
      match_.changes.emplace_back(lacks_fc_norm() ? "the head and the fc_norm before it are new" : "the head is new");
    }
    if (num_passed_over_ > 0) {
      match_.changes.push_back(
          fmt::format("{} tensors that only pretraining uses (a decoder, a norm) are ignored", num_passed_over_));
    }
    note_names();
    return std::move(match_);
  }

 private:
  void take_heads_beside() {
    // Of several heads, the one whose module encloses the encoder most closely, which has the longest name.
    std::stable_sort(beside_.begin(), beside_.end(),
                     [](const auto& a, const auto& b) { return a.first.size() > b.first.size(); });
    std::erase_if(beside_, [&](const auto& it) {
      const std::string parameter = head_beside(it.first, prefix_.bare);
      return known_.count(parameter) != 0 && names_.emplace(parameter, it.second).second;
    });
  }

  void note_names() {
    if (!prefix_.as_given.empty()) {
      match_.about_names.push_back(fmt::format("its names are taken without '{}'", printable_name(prefix_.as_given)));
    }
    if (!beside_.empty()) {
      std::vector<std::string> names;
      for (const auto& [bare, name] : beside_) {
        names.push_back(name);
      }
      match_.about_names.push_back(fmt::format("{} other tensors are ignored, e.g. {}", names.size(), examples(names)));
    }
  }

  void take_name(const std::string& name, const std::string& behind_prefix) {
    const std::string parameter = parameter_name(behind_prefix, model_);
    const bool norm_of_pretraining = model_.average_pool && parameter.starts_with("norm.");
    if (known_.count(parameter) != 0) {
      if (!names_.emplace(parameter, name).second) {
        match_.wrong.push_back(parameter + " under two names");
      }
    } else if (how_.reinit_head && (is_decoder(parameter) || norm_of_pretraining)) {
      ++num_passed_over_;
    } else if (!(how_.reinit_head && is_head(parameter))) {
      match_.unexpected.push_back(name);
    }
  }

  // The norm that is trained with the head. Half of it means a damaged file, whose other half is reported as missing.
  bool lacks_fc_norm() const {
    return model_.average_pool && names_.count("fc_norm.weight") == 0 && names_.count("fc_norm.bias") == 0;
  }

  // Whether the parameter keeps its initial values.
  bool starts_anew(const std::string& parameter) const {
    return how_.reinit_head && (is_head(parameter) || (parameter.starts_with("fc_norm.") && lacks_fc_norm()));
  }

  // false: it is missing. Anything wrong with it is added to the match.
  bool fits(const std::string& parameter, const std::vector<std::int64_t>& shape) {
    const auto name = names_.find(parameter);
    if (name == names_.end()) {
      return false;
    }
    const TensorInfo& info = given_.at(name->second);
    if (!at::isFloatingType(info.dtype)) {
      match_.wrong.push_back(parameter + " does not hold floating-point numbers");
    } else if (info.shape == shape || (parameter == "pos_embed" && can_be_resampled(info.shape, shape))) {
      match_.source_of[parameter] = name->second;
    } else if (parameter == "head.weight" && info.shape.size() == 2 && info.shape[1] == shape[1]) {
      match_.wrong.push_back(fmt::format("it has {} classes, the model {} (head.weight is {})", info.shape[0], shape[0],
                                         shape_text(info.shape)));
    } else {
      match_.wrong.push_back(
          fmt::format("{} is {} instead of {}", parameter, shape_text(info.shape), shape_text(shape)));
    }
    return true;
  }

  bool can_be_resampled(const std::vector<std::int64_t>& given, const std::vector<std::int64_t>& wanted) {
    const std::int64_t front = model_.position_on_class_token ? model_.num_front_tokens() : 0;
    const auto grid = grid_of_positions(given, front);
    if (!grid || given[2] != wanted[2]) {
      return false;
    }
    match_.changes.push_back(
        fmt::format("pos_embed is interpolated from {0} x {0} to {1} x {1} patches", *grid, model_.grid_size()));
    return true;
  }

  const VitOptions& model_;
  const TensorInfos& given_;
  const LoadOptions& how_;
  const NamePrefix& prefix_;
  const std::vector<std::pair<std::string, std::vector<std::int64_t>>> shapes_;
  std::set<std::string> known_;                              // parameters
  std::map<std::string, std::string> names_;                 // parameter -> the file's name
  std::vector<std::pair<std::string, std::string>> beside_;  // without wrappers, the file's name; not behind the prefix
  int num_passed_over_ = 0;
  WeightsMatch match_;
};

}  // namespace

std::string shape_text(const std::vector<std::int64_t>& shape) { return fmt::format("[{}]", fmt::join(shape, ", ")); }

std::string WeightsMatch::problems() const {
  constexpr std::size_t kSpeltOut = 12;
  std::vector<std::string> all(wrong.begin(),
                               wrong.begin() + static_cast<std::ptrdiff_t>(std::min(wrong.size(), kSpeltOut)));
  if (wrong.size() > kSpeltOut) {
    all.push_back(fmt::format("{} more of another shape or kind", wrong.size() - kSpeltOut));
  }
  if (missing.size() + unexpected.size() + wrong.size() > kSpeltOut) {
    if (!missing.empty()) {
      all.push_back(fmt::format("{} missing, e.g. {}", missing.size(), examples(missing)));
    }
    if (!unexpected.empty()) {
      all.push_back(fmt::format("{} unknown, e.g. {}", unexpected.size(), examples(unexpected)));
    }
    return fmt::format("{}", fmt::join(all, "; "));
  }
  for (const std::string& name : missing) {
    all.push_back("missing " + name);
  }
  for (const std::string& name : unexpected) {
    all.push_back("unexpected " + printable_name(name));
  }
  return fmt::format("{}", fmt::join(all, "; "));
}

WeightsMatch match_weights(const VitOptions& model, const TensorInfos& given, const LoadOptions& how) {
  const std::vector<NamePrefix> prefixes = find_prefixes(names_of(given));
  std::optional<WeightsMatch> nearest;
  std::size_t taken = 0;
  for (std::size_t i = 0; i < prefixes.size() && !(nearest && nearest->fits()); ++i) {
    WeightsMatch match = Matcher(model, given, how, prefixes[i]).run();
    if (!nearest || match.num_problems() < nearest->num_problems()) {
      nearest = std::move(match);
      taken = i;
    }
  }
  for (std::size_t i = 0; i < prefixes.size(); ++i) {
    if (i != taken) {
      nearest->about_names.push_back(
          fmt::format("it has another model under '{}' (maskedkd_weights convert --prefix takes it)",
                      printable_name(prefixes[i].as_given)));
    }
  }
  return *std::move(nearest);
}

std::int64_t num_classes_of(const TensorInfos& given) {
  const std::string prefix = find_prefixes(names_of(given)).front().bare;
  std::int64_t classes = 0;
  std::size_t closest = 0;  // the length of the head's name
  for (const auto& [name, info] : given) {
    const std::string bare = without_wrappers(name);
    if (info.shape.size() == 2 && info.shape[0] <= kMostClasses) {
      if (bare == prefix + "head.weight" || bare == prefix + kModule + "head.weight") {
        return info.shape[0];
      }
      if (head_beside(bare, prefix) == "head.weight" && bare.size() > closest) {
        classes = info.shape[0];
        closest = bare.size();
      }
    }
  }
  return classes;
}

std::vector<std::string> identify_model(const TensorInfos& given, const LoadOptions& how) {
  const std::int64_t classes = num_classes_of(given);
  LoadOptions match_how;
  match_how.reinit_head = how.reinit_head && classes == 0;
  std::vector<std::string> names;
  for (const PublishedName& published : published_models()) {
    VitOptions model = find_model(published.name);
    model.num_classes = classes > 0 ? static_cast<int>(classes) : model.num_classes;
    const WeightsMatch match = match_weights(model, given, match_how);
    const auto position = match.source_of.find("pos_embed");
    const std::int64_t front = model.position_on_class_token ? model.num_front_tokens() : 0;
    if (match.fits() && position != match.source_of.end() &&
        given.at(position->second).shape[1] == front + model.num_patches()) {
      names.push_back(published.name);
    }
  }
  return names;
}

std::string mismatch_hint(const VitOptions& model, const TensorInfos& given) {
  if (const std::string foreign = foreign_names(names_of(given)); !foreign.empty()) {
    return "these are " + foreign;
  }
  if (match_weights(model, given, {.reinit_head = true}).fits()) {
    return "a student loads all but the head with --reinit-head; a teacher must first be trained on these classes, as "
           "such a student";
  }
  const std::vector<std::string> names = identify_model(given);
  return names.empty() ? "is it another model's file?"
                       : fmt::format("it has the tensors of {}", fmt::join(names, ", and of "));
}

NameStyle parse_name_style(const std::string& text) {
  constexpr EnumNames<NameStyle, 2> kStyles = {{{"timm", NameStyle::timm}, {"meta", NameStyle::meta}}};
  return parse_name(kStyles, text, "--to");
}

std::string styled_name(const std::string& name, NameStyle style, const VitOptions& model) {
  if (style == NameStyle::timm) {
    return name;
  }
  if (model.is_cait()) {
    return kModule + name;
  }
  for (const char digit : {'1', '2'}) {
    if (const auto renamed = with_ending(name, std::string(".ls") + digit + ".gamma", std::string(".gamma_") + digit)) {
      return *renamed;
    }
  }
  return name;
}

at::Tensor resample_positions(const at::Tensor& positions, std::int64_t front, std::int64_t grid) {
  const auto old = grid_of_positions(positions.sizes().vec(), front);
  if (!old) {
    throw Error(fmt::format("positions of shape {} belong to no square grid behind {} tokens",
                            shape_text(positions.sizes().vec()), front));
  }
  const at::Tensor values = positions.to(at::kFloat);
  const at::Tensor patches = values.narrow(1, front, *old * *old).view({1, *old, *old, -1}).permute({0, 3, 1, 2});
  const at::Tensor resampled = at::_upsample_bicubic2d_aa(patches.contiguous(), {grid, grid}, /*align_corners=*/false);
  return at::cat({values.narrow(1, 0, front), resampled.permute({0, 2, 3, 1}).reshape({1, grid * grid, -1})}, 1);
}

}  // namespace maskedkd
