#include "maskedkd/train/resume.hpp"

#include "maskedkd/base/error.hpp"
#include "maskedkd/base/log.hpp"
#include "maskedkd/checkpoint/run_layout.hpp"
#include "maskedkd/comm/mpi_session.hpp"

#include <nlohmann/json.hpp>

#include <utility>

namespace maskedkd {
namespace {

namespace fs = std::filesystem;

LoadedCheckpoint load_named_checkpoint(const fs::path& checkpoints, const std::string& resume) {
  LoadedCheckpoint checkpoint = load_checkpoint(resume);
  const std::vector<fs::path> present = list_checkpoints(checkpoints);
  const fs::path newest = present.empty() ? checkpoint.path : present.back();
  if (!fs::equivalent(newest, checkpoint.path)) {
    throw usage_error(fmt::format("--resume {}: the run has a newer checkpoint, {}", resume, newest.string()),
                      "choose another --output-dir, or move the newer checkpoints away");
  }
  return checkpoint;
}

}  // namespace

std::optional<LoadedCheckpoint> choose_checkpoint(const fs::path& checkpoints, const std::string& resume,
                                                  bool was_restarted) {
  const bool has_some = !list_checkpoints(checkpoints).empty();
  if (resume == "auto" || (was_restarted && has_some)) {
    return find_newest_checkpoint(checkpoints,
                                  [](const std::string& damage) { spdlog::warn("{}; trying an older one", damage); });
  }
  if (resume != "none") {
    return load_named_checkpoint(checkpoints, resume);
  }
  if (has_some) {
    throw usage_error(fmt::format("{} contains checkpoints of a run, and --resume is none", checkpoints.string()),
                      "continue with --resume auto, or choose another --output-dir");
  }
  return std::nullopt;
}

std::optional<LoadedCheckpoint> share_checkpoint(const MpiSession& session, std::optional<LoadedCheckpoint> own) {
  const std::string path = session.broadcast(own ? own->path.string() : "");
  if (path.empty()) {
    return std::nullopt;
  }
  nlohmann::json shared;
  if (session.rank() == 0) {
    shared = {
        {"step", own->step}, {"evaluated", own->evaluated}, {"metadata", own->metadata}, {"state", own->state_json}};
  }
  shared = nlohmann::json::parse(session.broadcast(shared.dump()));
  if (session.rank() != 0) {
    own.emplace();
    own->path = path;
    own->step = shared["step"];
    own->evaluated = shared["evaluated"];
    own->metadata = shared["metadata"];
    own->state_json = shared["state"];
  }
  return own;
}

RunState resumed_state(const LoadedCheckpoint& checkpoint, const RunState& now, std::int64_t num_epochs,
                       const fs::path& checkpoints, std::vector<std::string>& warnings) {
  RunState resumed = parse_run_state(checkpoint.state_json, (checkpoint.path / kStateName).string());
  for (std::string& change : compare_runs(resumed, now)) {
    warnings.push_back(std::move(change));
  }
  if (const std::string change = change_of_gpus(resumed, now); !change.empty()) {
    spdlog::info("{}", change);
  }
  const std::int64_t begun = resumed.epoch + (resumed.step > 0 ? 1 : 0);
  if (begun > num_epochs) {
    throw usage_error(fmt::format("--epochs {}: the run has already begun epoch {}", num_epochs, begun),
                      fmt::format("give at least {}", begun));
  }
  resumed.options = now.options;
  resumed.ranks = now.ranks;
  resumed.threads = now.threads;
  resumed.device = now.device;
  resumed.gpus = now.gpus;
  if (checkpoint.path.parent_path() != fs::weakly_canonical(checkpoints)) {
    resumed.best = {};
  }
  return resumed;
}

bool restore_best_mark(const Lease& lease, const fs::path& checkpoints, const BestEpoch& best) {
  const fs::path path = checkpoint_path(checkpoints, best.step, /*evaluated=*/true);
  if (best.step < 0 || !fs::exists(path)) {
    return false;
  }
  try {
    mark_best(lease, checkpoints, path);
  } catch (const Fenced&) {
    throw;
  } catch (const Error& error) {
    spdlog::warn("{}; {}", error.what(), error.hint());
  }
  return true;
}

}  // namespace maskedkd
