#include "maskedkd/train/weights_source.hpp"

#include "maskedkd/base/error.hpp"
#include "maskedkd/checkpoint/checkpoint.hpp"
#include "maskedkd/checkpoint/run_layout.hpp"
#include "maskedkd/io/posix.hpp"
#include "maskedkd/io/safetensors.hpp"
#include "maskedkd/model/description.hpp"
#include "maskedkd/model/registry.hpp"
#include "maskedkd/model/weights.hpp"
#include "maskedkd/train/run_state.hpp"

#include <optional>
#include <vector>

namespace maskedkd {

namespace fs = std::filesystem;

namespace {

// The state of the checkpoint that contains the file, verified; nullopt: no checkpoint does.
std::optional<RunState> state_of_checkpoint(const fs::path& file) {
  const fs::path state = file.parent_path() / kStateName;
  std::error_code unreachable;
  if (!fs::is_regular_file(state, unreachable)) {
    return std::nullopt;
  }
  verify_checkpoint_file(state);
  return parse_run_state(read_text_file(state), state.string());
}

// A checkpoint also has files with tensors of the weights' names and shapes.
void refuse_other_state(const fs::path& file, const std::string& flag) {
  const std::string name = file.filename().string();
  std::error_code unreachable;
  if (name != kModelFileName && name != kAverageFileName &&
      fs::is_regular_file(file.parent_path() / kStateName, unreachable)) {
    throw usage_error(fmt::format("{}{} is a part of a checkpoint, but not its weights", flag, file.string()),
                      fmt::format("give the checkpoint, {}", file.parent_path().string()));
  }
}

}  // namespace

fs::path weights_file(const fs::path& path, const std::string& flag) {
  const fs::path checkpoints = path / kCheckpointsFolder;
  // `best` may be a text file instead of a link.
  const fs::path checkpoint = follow_best(path);
  std::vector<fs::path> candidates = {checkpoint, checkpoint / kModelFileName,
                                      follow_best(checkpoints / kBestName) / kModelFileName};
  if (const std::vector<fs::path> listed = list_checkpoints(checkpoints); !listed.empty()) {
    candidates.push_back(listed.back() / kModelFileName);  // a run that is not evaluated has no best one
  }
  std::error_code unreachable;
  for (const fs::path& file : candidates) {
    if (fs::is_regular_file(file, unreachable)) {
      refuse_other_state(file, flag);
      verify_checkpoint_file(file);
      return fs::canonical(file);
    }
  }
  if (!fs::exists(path, unreachable)) {
    throw usage_error(fmt::format("{}{} does not exist", flag, path.string()));
  }
  throw usage_error(
      fmt::format("{}{} is neither a safetensors file, nor a checkpoint, nor a run that has one", flag, path.string()));
}

VitOptions weights_model(const fs::path& file, const std::string& model_name, const std::string& model_flag,
                         int num_classes) {
  if (!model_name.empty()) {
    VitOptions model = find_model(model_name);
    model.num_classes = num_classes;
    return model;
  }
  const std::optional<RunState> state = state_of_checkpoint(file);
  if (!state) {
    const SafetensorsHeader header = read_safetensors_header(file);
    if (const std::optional<VitOptions> described = model_in(header.metadata, file.string())) {
      return *described;
    }
    // Models can have the same shapes of tensors and differ in their heads, so the name is requested, not guessed.
    const std::vector<std::string> likely = identify_model(header.tensors);
    throw usage_error(
        fmt::format("--{} is missing: {} is not part of a checkpoint that describes it", model_flag, file.string()),
        likely.empty() ? fmt::format("name its model: {}", fmt::join(known_models(), ", "))
                       : fmt::format("it has the tensors of {}", fmt::join(likely, ", and of ")));
  }
  return parse_model_description(state->model, (file.parent_path() / kStateName).string());
}

fs::path average_beside(const fs::path& file) {
  const fs::path average = file.parent_path() / kAverageFileName;
  if (!fs::exists(average)) {
    throw usage_error(fmt::format("--ema: {} does not exist", average.string()),
                      "the run was trained without --model-ema-decay");
  }
  verify_checkpoint_file(average);
  return average;
}

std::string option_of_run(const fs::path& file, const std::string& name) {
  const std::optional<RunState> state = state_of_checkpoint(file);
  if (state) {
    for (const OptionText& option : state->options) {
      if (option.name == name) {
        return option.text;
      }
    }
  }
  return "";
}

}  // namespace maskedkd
