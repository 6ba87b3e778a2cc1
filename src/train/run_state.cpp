#include "maskedkd/train/run_state.hpp"

#include "maskedkd/base/error.hpp"
#include "maskedkd/comm/topology.hpp"
#include "maskedkd/model/description.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <bit>
#include <string_view>
#include <utility>

namespace maskedkd {
namespace {

[[noreturn]] void refuse_change(const std::string& what, const std::string& was, const std::string& is) {
  throw usage_error(fmt::format("the run was started with {} {}, now it is {}", what, was, is),
                    "give the old value, or start in another --output-dir");
}

// The values in which two models differ, of each model: "width 192, depth 12" and "width 384, depth 24".
std::pair<std::string, std::string> differences(const VitOptions& before, const VitOptions& now) {
  const auto old = nlohmann::ordered_json::parse(describe_model(before));
  const auto other = nlohmann::ordered_json::parse(describe_model(now));
  std::vector<std::string> was, is;
  for (const auto& [name, value] : old.items()) {
    if (other.at(name) != value) {
      was.push_back(fmt::format("{} {}", name, value.dump()));
      is.push_back(fmt::format("{} {}", name, other.at(name).dump()));
    }
  }
  return {fmt::format("{}", fmt::join(was, ", ")), fmt::format("{}", fmt::join(is, ", "))};
}

// Changes in the order of additions, which is the same for 1, 2, 4, ... ranks.
std::vector<std::string> changes_of_rounding(const RunState& before, const RunState& now) {
  std::vector<std::string> changes;
  const auto add = [&](const std::string& what) {
    changes.push_back(what + ": from here on the result is the same up to rounding, not bit for bit");
  };
  if (before.device != now.device) {
    add(fmt::format("the device changes from {} to {}", before.device, now.device));
  }
  const bool in_one_order =
      std::has_single_bit(static_cast<unsigned>(before.ranks)) && std::has_single_bit(static_cast<unsigned>(now.ranks));
  if (before.ranks != now.ranks && !in_one_order) {
    add(fmt::format("the number of ranks changes from {} to {}, which are not both powers of two", before.ranks,
                    now.ranks));
  }
  if (before.threads != now.threads && now.device == "cpu") {
    add(fmt::format("the number of threads of a rank changes from {} to {} (--threads {} keeps it)", before.threads,
                    now.threads, before.threads));
  }
  return changes;
}

// nullptr: the run has no such option.
const std::string* find_option(const OptionTexts& options, std::string_view name) {
  const auto found = std::find_if(options.begin(), options.end(), [&](const auto& it) { return it.name == name; });
  return found == options.end() ? nullptr : &found->text;
}

}  // namespace

std::string to_json(const RunState& state) {
  nlohmann::ordered_json options = nlohmann::ordered_json::object();
  for (const OptionText& option : state.options) {
    options[option.name] = option.text;
  }
  nlohmann::ordered_json history = nlohmann::ordered_json::array();
  for (const std::string& line : state.history) {
    history.push_back(nlohmann::ordered_json::parse(line));
  }
  const nlohmann::ordered_json json = {{"epoch", state.epoch},
                                       {"step", state.step},
                                       {"global_step", state.global_step},
                                       {"epoch_loss_sum", state.epoch_loss_sum},
                                       {"best_accuracy", state.best.accuracy},
                                       {"best_epoch", state.best.epoch},
                                       {"best_step", state.best.step},
                                       {"loss_scale", state.loss_scale},
                                       {"good_steps", state.good_steps},
                                       {"data_set_id", state.data_set_id},
                                       {"teacher_sha256", state.teacher_sha256},
                                       {"teacher_model", state.teacher_model},
                                       {"model", nlohmann::ordered_json::parse(state.model)},
                                       {"options", options},
                                       {"ranks", state.ranks},
                                       {"threads", state.threads},
                                       {"device", state.device},
                                       {"gpus", state.gpus},
                                       {"history", history}};
  // Paths may not be UTF-8, but JSON must be.
  return json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

RunState parse_run_state(const std::string& text, const std::string& source) {
  try {
    const auto json = nlohmann::ordered_json::parse(text);
    RunState state;
    json.at("epoch").get_to(state.epoch);
    json.at("step").get_to(state.step);
    json.at("global_step").get_to(state.global_step);
    json.at("epoch_loss_sum").get_to(state.epoch_loss_sum);
    json.at("best_accuracy").get_to(state.best.accuracy);
    json.at("best_epoch").get_to(state.best.epoch);
    json.at("best_step").get_to(state.best.step);
    json.at("loss_scale").get_to(state.loss_scale);
    json.at("good_steps").get_to(state.good_steps);
    json.at("data_set_id").get_to(state.data_set_id);
    json.at("teacher_sha256").get_to(state.teacher_sha256);
    json.at("teacher_model").get_to(state.teacher_model);
    state.model = json.at("model").dump();
    for (const auto& [name, value] : json.at("options").items()) {
      state.options.push_back({name, value.get<std::string>()});
    }
    json.at("ranks").get_to(state.ranks);
    json.at("threads").get_to(state.threads);
    json.at("device").get_to(state.device);
    json.at("gpus").get_to(state.gpus);
    for (const auto& line : json.at("history")) {
      state.history.push_back(line.dump());
    }
    return state;
  } catch (const nlohmann::json::exception& error) {
    throw usage_error(fmt::format("{} is not the state of a training run: {}", source, error.what()));
  }
}

std::vector<std::string> compare_runs(const RunState& before, const RunState& now) {
  const auto compare_models = [&](const std::string& what, const std::string& old, const std::string& other) {
    const VitOptions was = parse_model_description(old, "the checkpoint"),
                     is = parse_model_description(other, "this run");
    if (was != is) {
      const auto [old_values, new_values] = differences(was, is);
      refuse_change(what, old_values, new_values);
    }
  };
  compare_models("a model of", before.model, now.model);
  if (before.data_set_id != now.data_set_id) {
    const auto name = [](const RunState& state) {
      const std::string* path = find_option(state.options, "data-path");
      return fmt::format("{}{}{}", path != nullptr ? *path : "", path != nullptr ? " with set_id " : "set_id ",
                         state.data_set_id);
    };
    refuse_change("the data set", name(before), name(now));
  }
  if (before.teacher_sha256 != now.teacher_sha256) {
    const auto name = [](const RunState& state) {
      const std::string* path = find_option(state.options, "teacher-path");
      return state.teacher_sha256.empty()
                 ? "none"
                 : fmt::format("{} of SHA-256 {}", path != nullptr ? *path : "", state.teacher_sha256);
    };
    refuse_change("the teacher", name(before), name(now));
  }
  if (!now.teacher_sha256.empty()) {  // one file can give two teachers: positions are interpolated to another grid
    compare_models("a teacher of", before.teacher_model, now.teacher_model);
  }
  refuse_fixed_changes(before.options, now.options);
  std::vector<std::string> changes = changed_options(before.options, now.options, {OnResume::reported});
  const std::string* deterministic = find_option(now.options, "deterministic");
  if (deterministic != nullptr && *deterministic == "true") {
    const std::vector<std::string> more = changes_of_rounding(before, now);
    changes.insert(changes.end(), more.begin(), more.end());
  }
  return changes;
}

std::string change_of_gpus(const RunState& before, const RunState& now) {
  const std::string was = describe_gpus(before.gpus, before.ranks), is = describe_gpus(now.gpus, now.ranks);
  if (before.gpus.empty() || now.gpus.empty() || was == is) {
    return "";
  }
  return fmt::format("the GPUs change from {} to {}{}", was, is,
                     before.gpus == now.gpus ? "" : ": the last bits of the result may differ");
}

std::vector<std::string> changed_options(const OptionTexts& before, const OptionTexts& now,
                                         std::initializer_list<OnResume> kinds) {
  std::vector<std::string> changes;
  for (const OptionText& option : now) {
    const std::string* old = find_option(before, option.name);
    if (std::find(kinds.begin(), kinds.end(), option.on_resume) != kinds.end() && old != nullptr &&
        *old != option.text) {
      changes.push_back(fmt::format("--{} changes from {} to {}", option.name, *old, option.text));
    }
  }
  return changes;
}

void refuse_fixed_changes(const OptionTexts& before, const OptionTexts& now) {
  for (const OptionText& option : now) {
    const std::string* old = find_option(before, option.name);
    if (option.on_resume == OnResume::fixed && old != nullptr && *old != option.text) {
      refuse_change("--" + option.name, *old, option.text);
    }
  }
}

}  // namespace maskedkd
