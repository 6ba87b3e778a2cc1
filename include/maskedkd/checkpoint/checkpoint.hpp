// A training state on disk: a directory `step-000001234` that appears whole or not at all, with safetensors files of
// groups of tensors, and manifest.json with sizes and SHA-256 of each. Plain tensors and numbers: knows neither model
// nor optimizer.
//
//   <root>/step-000001234/{model,optimizer,ema}.safetensors, state.json, manifest.json
//   <root>/step-000001234-evaluated/...    (the same step, with its evaluation's figures in state.json)
//   <root>/best -> step-000000987-evaluated    (symbolic link, replaced atomically; a text file where there are none)
//
// Everything is made in the lease's workshop (checkpoint/lease.hpp) and renamed from there.
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

// What one writer puts in. groups: file stem ("model", "optimizer", "optimizer-00002-of-00004", ...) -> tensors. state:
// any JSON text of numbers and strings.
struct CheckpointContent {
  std::int64_t step = 0;   // optimizer steps done, of the whole run: with `evaluated` it names the directory
  bool evaluated = false;  // that step's evaluation is in the state
  std::map<std::string, NamedTensors> groups;
  std::map<std::string, SafetensorsMetadata>
      metadata;  // group ("model", ...) -> what its files say beside their tensors
  std::string state_json;
  std::set<std::string> elsewhere;  // stems that other writers write into it
  std::uint64_t bytes_elsewhere = 0;
  int attempt = 0;  // the same for all writers of one saving, and no other saving's
};

// What comes out, verified; a group of several files is put together.
struct LoadedCheckpoint {
  std::filesystem::path path;
  std::int64_t step = 0;
  bool evaluated = false;
  std::map<std::string, std::map<std::string, at::Tensor>> groups;
  std::map<std::string, SafetensorsMetadata> metadata;  // of each group's files
  std::string state_json;
};

struct RetentionOptions {
  int keep_last = 2;  // newest checkpoints that verify and stay, >= 1; the best one stays beside them
};

// Throws Error where root's file system has less room than a checkpoint of so many bytes of tensors takes.
void check_free_space(const std::filesystem::path& root, std::uint64_t tensor_bytes);

// Not collective: one process writes it, and waits for what is `elsewhere` for as long as `cancelled` is not set.
// Checks the free space first; a failure throws Error and leaves all earlier checkpoints as they were and nothing half
// written that could be taken for one. One that exists already is left as it is where it verifies, replaced where it is
// damaged, and an Error where its format is newer.
std::filesystem::path save_checkpoint(const Lease& lease, const std::filesystem::path& root,
                                      const CheckpointContent& content, const std::atomic<bool>* cancelled = nullptr);

// Another writer's part, in any process of the run. workshop: the lease's. Throws Error.
void save_checkpoint_part(const std::filesystem::path& workshop, const CheckpointContent& content);

// The checkpoint that `best` names, where that is a text file for want of links; any other path as it is. Throws Error.
std::filesystem::path follow_best(const std::filesystem::path& given);

// Points <root>/best to it.
void mark_best(const Lease& lease, const std::filesystem::path& root, const std::filesystem::path& checkpoint);

// Removes what retention does not keep, oldest first, each so that a kill in between leaves no directory that verifies
// by chance, and of a step that was evaluated the checkpoint from before. A damaged one is not counted: those that must
// be kept are read, but not those in `verified`, to which they are added.
void retain_checkpoints(const Lease& lease, const std::filesystem::path& root, const RetentionOptions& options,
                        std::set<std::filesystem::path>* verified = nullptr);

// Reads and verifies one (a directory, or `best`). Throws Error naming the file and what is wrong with it (missing,
// size, SHA-256, newer format).
LoadedCheckpoint load_checkpoint(const std::filesystem::path& path);

// Verifies a single file of a checkpoint against the manifest beside it; a file with no manifest beside it belongs to
// no checkpoint and passes. Throws Error as load_checkpoint does.
void verify_checkpoint_file(const std::filesystem::path& file);

// The newest that verifies, newest first; each damaged one is told to on_damaged and passed over. nullopt: there is
// none; an Error (usage) where there are some and none verifies. What can't be read (EIO) is an Error (requeue), what
// is of a newer format one too: neither is damage.
std::optional<LoadedCheckpoint> find_newest_checkpoint(const std::filesystem::path& root,
                                                       const std::function<void(const std::string&)>& on_damaged);

// Where the checkpoint of that step lies, or would.
std::filesystem::path checkpoint_path(const std::filesystem::path& root, std::int64_t step, bool evaluated = false);

// Directories step-*, oldest first: by step, the evaluated one after the one from before its evaluation.
std::vector<std::filesystem::path> list_checkpoints(const std::filesystem::path& root);

}  // namespace maskedkd
