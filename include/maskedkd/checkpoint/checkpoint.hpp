// A training state on disk: a directory `step-000001234` that appears whole or not at all, with safetensors files of
// groups of tensors, and manifest.json with sizes and SHA-256 of each. Plain tensors and numbers: knows neither model
// nor optimizer.
//
//   <root>/step-000001234/{model,optimizer,ema}.safetensors, state.json, manifest.json
//   <root>/step-000001234-evaluated/...    (the same step, with its evaluation's figures in state.json)
//   <root>/best -> step-000000987-evaluated    (symbolic link, replaced atomically; or a text file)
//
// Everything is written in the lease's staging folder (checkpoint/lease.hpp) and renamed from there.
#pragma once

#include "maskedkd/checkpoint/format_version.hpp"
#include "maskedkd/checkpoint/lease.hpp"
#include "maskedkd/io/safetensors.hpp"

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace maskedkd {

// A file of a checkpoint: tensors of one group. A group in several files has them called GROUP-00002-of-00004.
struct PlannedFile {
  std::string stem;
  std::string group;
  std::size_t first = 0, last = 0;  // of the group's tensors
  int writer = 0;
};

// Which of num_writers writes what: a group of more than largest_bytes is cut between tensors into at most num_writers
// files; `whole` stays one file. Pure.
std::vector<PlannedFile> plan_checkpoint_files(const std::map<std::string, NamedTensors>& groups, int num_writers,
                                               std::uint64_t largest_bytes, const std::set<std::string>& whole);

// What one writer writes. groups: file stem ("model", "optimizer", "optimizer-00002-of-00004", ...) -> tensors. state:
// any JSON text of numbers and strings.
struct CheckpointContent {
  std::int64_t step = 0;   // optimizer steps done, of the whole run: with `evaluated` it names the directory
  bool evaluated = false;  // that step's evaluation is in the state
  std::map<std::string, NamedTensors> groups;
  // Empty, or to be called before the tensors are read, as a GPU still copies into them. Throws.
  std::function<void()> wait_for_tensors;
  // group ("model", ...) -> the metadata of its files
  std::map<std::string, SafetensorsMetadata> metadata;
  std::string state_json;
  std::set<std::string> elsewhere;  // stems that other writers write into it
  std::uint64_t bytes_elsewhere = 0;
  int attempt = 0;  // the same for all writers of one save, different for each save
};

// A verified checkpoint; a group of several files is merged.
struct LoadedCheckpoint {
  std::filesystem::path path;
  std::int64_t step = 0;
  bool evaluated = false;
  std::map<std::string, std::map<std::string, at::Tensor>> groups;
  std::map<std::string, SafetensorsMetadata> metadata;  // of each group's files
  std::string state_json;
};

struct RetentionOptions {
  int keep_last = 2;  // newest intact checkpoints to keep, >= 1; the best one is kept besides
};

// Throws Error where root's file system has too little free space for a checkpoint of so many bytes of tensors.
void check_free_space(const std::filesystem::path& root, std::uint64_t tensor_bytes);

// Not collective: one process calls it; it waits for the files that are `elsewhere` until `cancelled` is set. Checks
// the free space first. A failure throws Error, leaves all earlier checkpoints as they were, and nothing half written
// that could be taken for a checkpoint. An existing checkpoint of that step is kept where it verifies, replaced where
// it is damaged, and an Error where its format is newer.
std::filesystem::path save_checkpoint(const Lease& lease, const std::filesystem::path& root,
                                      const CheckpointContent& content, const std::atomic<bool>* cancelled = nullptr);

// Writes another writer's part, in any process of the run. staging_folder: the lease's. Throws Error.
void save_checkpoint_part(const std::filesystem::path& staging_folder, const CheckpointContent& content);

// `given`; or, where that is a text file `best` in place of a link, the checkpoint that it names. Throws Error.
std::filesystem::path follow_best(const std::filesystem::path& given);

// Points <root>/best to the checkpoint.
void mark_best(const Lease& lease, const std::filesystem::path& root, const std::filesystem::path& checkpoint);

// Removes the checkpoints that retention does not keep, oldest first; a kill in between leaves none that is partly
// removed. Where a step has an evaluated checkpoint, the one from before the evaluation goes too. Damaged ones are not
// counted: those to be kept are read and verified, except those in `verified`, to which they are added.
void retain_checkpoints(const Lease& lease, const std::filesystem::path& root, const RetentionOptions& options,
                        std::set<std::filesystem::path>* verified = nullptr);

// Reads and verifies one (a directory, or `best`). Throws Error naming the file and what is wrong with it (missing,
// size, SHA-256, newer format).
LoadedCheckpoint load_checkpoint(const std::filesystem::path& path);

// Verifies a single file of a checkpoint against the manifest beside it; a file with no manifest beside it belongs to
// no checkpoint and passes. Throws Error as load_checkpoint does.
void verify_checkpoint_file(const std::filesystem::path& file);

// The newest that verifies; each damaged one before it is reported to on_damaged. nullopt: there is none; an Error
// (usage) where there are some and none verifies. One that can't be read (EIO) is an Error (requeue), and one of a
// newer format is an Error (usage): neither is damage.
std::optional<LoadedCheckpoint> find_newest_checkpoint(const std::filesystem::path& root,
                                                       const std::function<void(const std::string&)>& on_damaged);

// The path of the checkpoint of that step, whether it exists or not.
std::filesystem::path checkpoint_path(const std::filesystem::path& root, std::int64_t step, bool evaluated = false);

// Directories step-*, oldest first: by step, the evaluated one after the one from before its evaluation.
std::vector<std::filesystem::path> list_checkpoints(const std::filesystem::path& root);

}  // namespace maskedkd
