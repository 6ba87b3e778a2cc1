// One rank's share of a packing: its threads write its shards, while the thread that made it looks on.
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
  // Starts at once, on the shards rank, rank + ranks, ... Everything given must outlive it. Destroyed, it has the
  // threads stop at their next image. Throws Error where so many threads can't be started.
  ShardPacker(const ImageSource& source, const PackOptions& options, const PackPlan& plan, const std::string& set_id,
              int rank, int ranks);
  ShardPacker(const ShardPacker&) = delete;
  ShardPacker& operator=(const ShardPacker&) = delete;

  // So far; images and bytes of the source.
  struct Counts {
    std::int64_t images = 0, bytes = 0, broken = 0;
  };
  Counts counts() const;
  // Whether all is done, waited for no longer than `patience`. Throws what a thread threw.
  bool wait(std::chrono::milliseconds patience);

  // After all is done:
  const std::vector<ShardNote>& notes() const { return notes_; }
  std::int64_t num_kept() const { return num_kept_; }

 private:
  bool pack_next(const std::atomic<bool>& stop);
  void pack_shard(std::int64_t shard, const std::atomic<bool>& stop);
  bool is_checked_enough(ShardNote& note, const std::atomic<bool>& stop) const;
  ShardForecast forecast(std::int64_t begin, std::int64_t end) const;

  const ImageSource& source_;
  const PackOptions& options_;
  const PackPlan& plan_;
  const std::string& set_id_;
  const std::int64_t stride_;
  std::atomic<std::int64_t> next_;
  std::atomic<std::int64_t> images_ = 0, bytes_ = 0, broken_ = 0;

  std::mutex mutex_;
  std::vector<ShardNote> notes_;
  std::int64_t num_kept_ = 0;
  std::optional<WorkerThreads> threads_;  // last: they use the rest
};

}  // namespace maskedkd
