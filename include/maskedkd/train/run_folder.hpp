// A run's folder, for the ranks of one start: rank 0 holds its lease and writes the files beside the checkpoints; the
// other ranks know only the lease's staging folder.
//
//   <run>/checkpoints/...   see checkpoint/checkpoint.hpp
//   <run>/log.txt           a JSON object for each epoch
//   <run>/status.json       a flat JSON object, every few seconds: for jobs/status.sh
//   <run>/finished.json     exists only when all epochs are done: a start that finds it ends at once
#pragma once

#include "maskedkd/checkpoint/lease.hpp"
#include "maskedkd/train/run_state.hpp"
#include "maskedkd/train/train_options.hpp"

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <optional>

namespace maskedkd {

class MpiSession;

// Collective. Whether the run has done as many epochs as requested now. Throws Error (usage) where an option has
// changed that must not (OnResume::fixed).
bool is_finished(const MpiSession& session, const TrainOptions& options, const OptionTexts& texts);

// The status of a run, for observers.
struct RunStatus {
  std::string state = "starting";  // starting, running, evaluating, stopped, finished, failed
  std::int64_t epoch = 0, epochs = 0;
  std::int64_t step = 0, steps = 0;  // of the whole run
  double images_per_second = 0;
  double eta_s = 0;
  std::string last_checkpoint;
  std::int64_t last_checkpoint_time = 0;  // seconds since 1970
};

class RunFolder {
 public:
  // Collective. Makes the folder and takes its lease on rank 0; if another start takes the run over later, ends the
  // process. Throws Error (usage) where the folder is in use or can't be written.
  RunFolder(const MpiSession& session, const std::filesystem::path& folder);
  ~RunFolder();

  const std::filesystem::path& checkpoints() const noexcept { return checkpoints_; }
  // The lease's, on every rank.
  const std::filesystem::path& staging_folder() const noexcept { return staging_folder_; }
  const Lease* lease() const noexcept { return lease_ ? &*lease_ : nullptr; }  // rank 0's

  // The rest does nothing on ranks other than 0.

  // checkpoint: what this start resumes from; empty: nothing. Throws Error (no_requeue) after three automatic restarts
  // in a row that were killed, failed, or ended by themselves before one new checkpoint.
  void record_start(const std::string& checkpoint);
  void set_status(const RunStatus& status);  // the lease's thread writes it
  void write_log(const std::vector<std::string>& history) const;
  // Writes finished.json. Throws Error.
  void write_finished(const RunState& state, const std::string& checkpoint) const;
  // Throws Fenced where another start has taken the run.
  void check_lease() const;
  // Writes the status and ends the lease, so that the next start need not wait. without_progress: this start ends by
  // itself and has made no new checkpoint.
  void end(const RunStatus& status, bool without_progress = false);

 private:
  void write_status() const;
  void end_fenced(const Error& error);

  std::filesystem::path folder_, checkpoints_, staging_folder_;
  std::optional<Lease> lease_;
  std::atomic<bool> lost_{false};
  mutable std::mutex mutex_, writing_;
  std::condition_variable ended_;
  bool ending_ = false;
  std::optional<RunStatus> status_;
};

}  // namespace maskedkd
