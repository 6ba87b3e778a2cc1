#include "maskedkd/train/run_state.hpp"

#include "maskedkd/base/error.hpp"
#include "maskedkd/model/description.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <bit>
#include <optional>
#include <string_view>
#include <utility>

namespace maskedkd {
namespace {

// Another value of these is another run: the order of samples or the meaning of the state would change under way.
constexpr std::array<std::string_view, 7> kFixed = {"repeat-locality", "seed",      "batch-size",     "micro-batch",
                                                    "repeats",         "precision", "model-ema-decay"};
// These say where and how to run, not what is computed.
constexpr std::array<std::string_view, 27> kFree = {"stage-to",
                                                    "ignore-class-names",
                                                    "stage-leave-free",
                                                    "on-bad-record",
                                                    "bad-records-limit",
                                                    "output-dir",
                                                    "data-path",
                                                    "eval-data-path",
                                                    "teacher-path",
                                                    "finetune",
                                                    "reinit-head",
                                                    "resume",
                                                    "workers",
                                                    "prefetch",
                                                    "threads",
                                                    "device",
                                                    "eval-batch",
                                                    "keep-checkpoints",
                                                    "stop-after-steps",
                                                    "checkpoint-steps",
                                                    "checkpoint-minutes",
                                                    "teacher-model",
                                                    "model",
                                                    "time-limit",
                                                    "hang-timeout",
                                                    "max-checkpoint-age",
                                                    "checkpoint-file-mb"};

// These say what the student is, which is compared as such.
constexpr std::array<std::string_view, 9> kOfTheModel = {"num-classes", "input-size",  "patch-size",
                                                         "width",       "depth",       "heads",
                                                         "distilled",   "layer-scale", "position-on-class-token"};

// What a run did that was started before there was a choice.
constexpr std::array<std::pair<const char*, const char*>, 12> kBeforeThereWasA = {
    {{"mask-criterion", "student"},
     {"keep-schedule", "constant"},
     {"keep-start", "1.0"},
     {"train-interpolation", "bicubic"},
     {"aa", "none"},
     {"three-augment", "false"},
     {"color-jitter", "0"},
     {"erasing-mode", "pixel (other noise of the same distribution)"},
     {"erasing-count", "1"},
     {"cutmix-minmax", "none"},
     {"repeat-locality", "false"},
     {"augment-on", "cpu"}}};

constexpr std::array<std::string_view, 2> kFixedForOlderRuns = {"aa", "three-augment"};

bool names(const RunState& state, std::string_view name) {
  return std::any_of(state.options.begin(), state.options.end(),
                     [&](const auto& option) { return option.first == name; });
}

template <typename List>
bool contains(const List& list, std::string_view name) {
  return std::find(list.begin(), list.end(), name) != list.end();
}

[[noreturn]] void refuse_change(const std::string& what, const std::string& was, const std::string& is) {
  throw usage_error(fmt::format("the run was started with {} {}, now it is {}", what, was, is),
                    "give the old value, or start in another --output-dir");
}

// What differs between two models, of each of them: "width 192, depth 12" and "width 384, depth 24".
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

// Where from now on other sums are added in another order. A power of two of ranks adds in the order of one rank.
std::vector<std::string> roundings(const RunState& before, const RunState& now) {
  std::vector<std::string> told;
  const auto tell = [&](const std::string& what) {
    told.push_back(what + ": from here on the result is the same up to rounding, not bit for bit");
  };
  if (!before.device.empty() && before.device != now.device) {
    tell(fmt::format("the device changes from {} to {}", before.device, now.device));
  }
  const bool in_one_order =
      std::has_single_bit(static_cast<unsigned>(before.ranks)) && std::has_single_bit(static_cast<unsigned>(now.ranks));
  if (before.ranks != 0 && before.ranks != now.ranks && !in_one_order) {
    tell(fmt::format("the ranks change from {} to {}, which are not both powers of two", before.ranks, now.ranks));
  }
  if (before.threads != 0 && before.threads != now.threads && now.device == "cpu") {
    tell(fmt::format("the threads of a rank change from {} to {} (--threads {} keeps them)", before.threads,
                     now.threads, before.threads));
  }
  return told;
}

// As it was given, or as it was done before it could be; nullopt: unknown to that run.
std::optional<std::string> option_of(const RunState& state, const std::string& name) {
  for (const auto& [known, text] : state.options) {
    if (known == name) {
      return text;
    }
  }
  for (const auto& [known, text] : kBeforeThereWasA) {
    if (name == known) {
      return text;
    }
  }
  return std::nullopt;
}

}  // namespace

std::string to_json(const RunState& state) {
  nlohmann::ordered_json options = nlohmann::ordered_json::object();
  for (const auto& [name, text] : state.options) {
    options[name] = text;
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
                                       {"history", history}};
  // A path need not be UTF-8; JSON must.
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
    state.teacher_model = json.value("teacher_model", "");
    state.model = json.at("model").dump();
    for (const auto& [name, value] : json.at("options").items()) {
      const auto given = value.get<std::string>();
      state.options.emplace_back(name, name == "keep" && given == "0" ? "0.5" : given);  // 0 once meant half
    }
    if (option_of(state, "mask-criterion") == "all") {  // whatever was written beside it once
      for (auto& [name, value] : state.options) {
        value = name == "keep" ? "1.0" : value;
      }
    }
    state.ranks = json.value("ranks", 0);
    state.threads = json.value("threads", 0);
    state.device = json.value("device", "");
    for (const auto& line : json.at("history")) {
      state.history.push_back(line.dump());
    }
    return state;
  } catch (const nlohmann::json::exception& error) {
    throw usage_error(fmt::format("{} is not the state of a training run: {}", source, error.what()));
  }
}

std::vector<std::string> compare_runs(const RunState& before, const RunState& now) {
  // By what they say: a description that was written before a field existed lacks it.
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
    refuse_change("the data set", before.data_set_id, now.data_set_id);
  }
  if (before.teacher_sha256 != now.teacher_sha256) {
    const auto name = [](const std::string& digest) { return digest.empty() ? "none" : "of SHA-256 " + digest; };
    refuse_change("a teacher", name(before.teacher_sha256), name(now.teacher_sha256));
  }
  // One file can be two teachers: positions of another grid are interpolated.
  if (!before.teacher_model.empty() && !now.teacher_model.empty()) {
    compare_models("a teacher of", before.teacher_model, now.teacher_model);
  }
  std::vector<std::string> told;
  for (const auto& [name, text] : now.options) {
    const std::optional<std::string> old = option_of(before, name);
    if (!old || *old == text || contains(kFree, name) || contains(kOfTheModel, name)) {
      continue;
    }
    // A new default must not change a run that began before there was a choice.
    const bool began_before = contains(kFixedForOlderRuns, name) && !names(before, name);
    if (contains(kFixed, name) || began_before) {
      refuse_change("--" + name, *old, text);
    }
    told.push_back(fmt::format("--{} changes from {} to {}", name, *old, text));
  }
  if (option_of(now, "deterministic").value_or("true") == "true") {
    const std::vector<std::string> more = roundings(before, now);
    told.insert(told.end(), more.begin(), more.end());
  }
  return told;
}

void refuse_fixed_changes(const OptionTexts& before, const OptionTexts& now) {
  for (const auto& [name, text] : now) {
    for (const auto& [known, old] : before) {
      if (known == name && old != text && contains(kFixed, name)) {
        refuse_change("--" + name, old, text);
      }
    }
  }
}

}  // namespace maskedkd
