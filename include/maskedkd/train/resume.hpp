// Restores a run from a checkpoint. Called by the trainer's constructor; local to one rank unless it says otherwise.
#pragma once

#include "maskedkd/checkpoint/checkpoint.hpp"
#include "maskedkd/train/run_state.hpp"

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace maskedkd {

class MpiSession;

// On rank 0. The checkpoint in that folder that --resume selects: the newest valid one, none, or the one that it names.
// was_restarted: the cluster has restarted this job with the same command; it then resumes for any --resume. Removes
// unfinished files. Throws Error (usage) where checkpoints exist with --resume none, or newer ones than the named one.
std::optional<LoadedCheckpoint> choose_checkpoint(const std::filesystem::path& checkpoints, const std::string& resume,
                                                  bool was_restarted);

// Collective. Every rank gets rank 0's checkpoint, the others without its tensors: a thousand ranks would read and hash
// as many copies of them.
std::optional<LoadedCheckpoint> share_checkpoint(const MpiSession& session, std::optional<LoadedCheckpoint> own);

// The state to resume with: position and results of the checkpoint, options and machine of `now`, which describes this
// start. The best result of a checkpoint outside of `checkpoints` is dropped. Throws Error (usage) where something
// differs that must not, or the run is past num_epochs; appends the allowed differences to `warnings`.
RunState resumed_state(const LoadedCheckpoint& checkpoint, const RunState& now, std::int64_t num_epochs,
                       const std::filesystem::path& checkpoints, std::vector<std::string>& warnings);

// On rank 0. Marks the best checkpoint again, in case a kill prevented it. Returns whether it is on disk.
bool restore_best_mark(const Lease& lease, const std::filesystem::path& checkpoints, const BestEpoch& best);

}  // namespace maskedkd
