// Packs one rank's shards on its threads, while the thread that created it can watch their progress.
#pragma once

#include "maskedkd/shards/shard_writer.hpp"
#include "preprocess/packer.hpp"
#include "preprocess/shard_notes.hpp"
#include "preprocess/worker_threads.hpp"

#include <atomic>
#include <chrono>
#include <mutex>
#include <optional>

namespace maskedkd {

class ShardPacker {
 public:
  // Starts at once, on the shards rank, rank + ranks, ... All arguments must outlive it. The destructor stops the
  // threads at their next image. Throws Error where so many threads can't be started.
  ShardPacker(const ImageSource& source, const PackOptions& options, const PackPlan& plan, const std::string& set_id,
              int rank, int ranks);
  ShardPacker(const ShardPacker&) = delete;
  ShardPacker& operator=(const ShardPacker&) = delete;

  // So far; images and bytes are those of the source.
  struct Counts {
    std::int64_t images = 0, bytes = 0, broken = 0;
  };
  Counts counts() const;
  // Waits until all shards are done, no longer than `timeout`, and returns whether they are. Throws what a thread
  // threw.
  bool wait(std::chrono::milliseconds timeout);

  // After all shards are done:
  const std::vector<ShardNote>& notes() const { return notes_; }
  std::int64_t num_kept() const { return num_kept_; }

 private:
  bool pack_next(const std::atomic<bool>& stop);
  void pack_shard(std::int64_t shard, const std::atomic<bool>& stop);
  bool passes_check(ShardNote& note, const std::atomic<bool>& stop) const;
  ShardForecast forecast(std::int64_t begin, std::int64_t end) const;

  const ImageSource& source_;
  const PackOptions& options_;
  const PackPlan& plan_;
  const std::string& set_id_;
  const std::int64_t stride_;
  std::atomic<std::int64_t> next_;
  std::atomic<std::int64_t> images_ = 0, bytes_ = 0, broken_ = 0;
  std::atomic<bool> has_warned_of_unnamed_ = false;

  std::mutex mutex_;
  std::vector<ShardNote> notes_;
  std::int64_t num_kept_ = 0;
  std::optional<WorkerThreads> threads_;  // last, as they use the other members
};

}  // namespace maskedkd
