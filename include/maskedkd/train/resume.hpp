// From a checkpoint to the state that a run goes on with. Free functions of one rank; the trainer calls them when it is
// built, and lets rank 0 choose.
#pragma once

#include "maskedkd/checkpoint/checkpoint.hpp"
#include "maskedkd/train/run_state.hpp"

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace maskedkd {

// Rank 0's. What --resume means for the checkpoints in that folder: the newest whole one, none, or the one named.
// was_restarted: the cluster has started this job again with the same command; it then resumes whatever --resume says.
// Removes files that killed starts have not finished. Throws Error (usage) where checkpoints exist with --resume none,
// or a newer one exists than the one that is named.
std::optional<LoadedCheckpoint> choose_checkpoint(const std::filesystem::path& checkpoints, const std::string& resume,
                                                  bool was_restarted);

// Another rank's: rank 0 has verified it, so that a failure is this machine's view of the file system and may pass:
// throws Error (requeue).
LoadedCheckpoint load_chosen_checkpoint(const std::filesystem::path& path);

// The state to go on with: position and results of the checkpoint, options and machine of `now`, which describes this
// start. Results of a checkpoint outside of `checkpoints` do not count as the best here. Throws Error (usage) where
// something differs that may not, or the run is past num_epochs; adds to `warnings` what differs and may.
RunState resumed_state(const LoadedCheckpoint& checkpoint, const RunState& now, std::int64_t num_epochs,
                       const std::filesystem::path& checkpoints, std::vector<std::string>& warnings);

// Rank 0's. Marks the best checkpoint again, in case a kill came between its save and its mark. Whether it is on disk.
bool restore_best_mark(const Lease& lease, const std::filesystem::path& checkpoints, const BestEpoch& best);

}  // namespace maskedkd
