// Saves checkpoints in a thread while training goes on: writes, hashes, renames, marks the best, reads the new one back
// and then removes old ones. One at a time. Each rank has one; rank 0's commits, the others' write parts.
#pragma once

#include "maskedkd/checkpoint/checkpoint.hpp"

#include <chrono>
#include <future>
#include <memory>

namespace maskedkd {

struct SaveResult {
  std::filesystem::path path;  // of the checkpoint; of a part: empty
  double seconds = 0;          // of RunningClock
  std::string error;           // one line with its hint; empty: it is saved
  bool fenced = false;         // the error is that another start has taken over the run
};

class BackgroundSaver {
 public:
  // lease: nullptr in a process that writes parts only; outlives this. staging_folder: the lease's.
  BackgroundSaver(const Lease* lease, std::filesystem::path staging_folder, std::filesystem::path root,
                  const RetentionOptions& retention);
  BackgroundSaver(const BackgroundSaver&) = delete;
  BackgroundSaver& operator=(const BackgroundSaver&) = delete;
  ~BackgroundSaver();  // waits for the end of a save; one that waits for other writers is cancelled

  // Whether a save is still running, after waiting so long for its end.
  bool busy(std::chrono::milliseconds timeout = {}) const;
  // Not while busy. Nobody else may use the tensors from now on. is_best: `best` points to it afterwards.
  void start(CheckpointContent content, bool is_best);
  // For where another writer has failed: a running save stops waiting for parts.
  void cancel() noexcept;
  // The result of a save that has ended, once; nullopt where there is none.
  std::optional<SaveResult> take_result();
  // The same after waiting for its end.
  std::optional<SaveResult> wait();

 private:
  SaveResult save(const CheckpointContent& content, bool is_best);

  const Lease* lease_;
  std::filesystem::path staging_folder_, root_;
  RetentionOptions retention_;
  std::set<std::filesystem::path> verified_;  // the saving thread's
  std::filesystem::path best_;                // to be marked
  std::atomic<bool> cancelled_{false};
  std::future<SaveResult> running_;
};

}  // namespace maskedkd
