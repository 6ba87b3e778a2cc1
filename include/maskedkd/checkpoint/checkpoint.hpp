// A training state on disk: a directory `step-000001234` that appears whole or not at all, with one safetensors file a
// group of tensors, and manifest.json with sizes and SHA-256 of each. Plain tensors and numbers: knows neither model
// nor optimizer.
//
//   <root>/step-000001234/{model,optimizer,ema}.safetensors, state.json, manifest.json
//   <root>/best -> step-000000987          (symbolic link, replaced atomically)
#pragma once

#include "maskedkd/checkpoint/format_version.hpp"
#include "maskedkd/io/safetensors.hpp"

#include <nlohmann/json_fwd.hpp>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace maskedkd {

// What goes in. groups: file stem ("model", "optimizer", ...) -> tensors. state: any JSON text of numbers and strings.
struct CheckpointContent {
  std::int64_t step = 0;  // optimizer steps done, of the whole run: names the directory
  std::map<std::string, NamedTensors> groups;
  std::string state_json;
};

// What comes out, verified.
struct LoadedCheckpoint {
  std::filesystem::path path;
  std::int64_t step = 0;
  std::map<std::string, std::map<std::string, at::Tensor>> groups;
  std::string state_json;
};

struct RetentionOptions {
  int keep_last = 2;  // newest checkpoints that verify and stay, >= 1; the best one stays beside them
};

// Not collective: one rank writes. Checks the free space first; a failure throws Error and leaves all earlier
// checkpoints as they were and nothing half written that could be taken for one. A step that exists already is left as
// it is where it verifies, replaced where it is damaged, and an Error where its format is newer.
std::filesystem::path save_checkpoint(const std::filesystem::path& root, const CheckpointContent& content);

// Points <root>/best to it.
void mark_best(const std::filesystem::path& root, const std::filesystem::path& checkpoint);

// Removes what retention does not keep, oldest first, each so that a kill in between leaves no directory that verifies
// by chance; sweeps what killed writers left. Reads the kept ones where there are more: a damaged one is not counted.
void retain_checkpoints(const std::filesystem::path& root, const RetentionOptions& options);

// Reads and verifies one (a directory, or `best`). Throws Error naming the file and what is wrong with it (missing,
// size, SHA-256, newer format).
LoadedCheckpoint load_checkpoint(const std::filesystem::path& path);

// Verifies a single file of a checkpoint against the manifest beside it; a file with no manifest beside it belongs to
// no checkpoint and passes. Throws Error as load_checkpoint does.
void verify_checkpoint_file(const std::filesystem::path& file);

// The newest that verifies, newest first; each damaged one is told to on_damaged and passed over. nullopt: there is
// none. A checkpoint of a newer format is an Error, not damage.
std::optional<LoadedCheckpoint> find_newest_checkpoint(const std::filesystem::path& root,
                                                       const std::function<void(const std::string&)>& on_damaged);

// Where the checkpoint of that step lies, or would.
std::filesystem::path checkpoint_path(const std::filesystem::path& root, std::int64_t step);

// Directories step-*, oldest first.
std::vector<std::filesystem::path> list_checkpoints(const std::filesystem::path& root);

}  // namespace maskedkd
