// One rank's share of a packing: its threads write its shards, while the thread that made it looks on.
#pragma once

#include "maskedkd/images/shard_writer.hpp"
#include "preprocess/packer.hpp"
#include "preprocess/shard_notes.hpp"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>

namespace maskedkd {

class ShardPacker {
 public:
  // Starts at once, on the shards rank, rank + ranks, ... Everything given must outlive it.
  ShardPacker(const ImageSource& source, const PackOptions& options, const PackPlan& plan, const std::string& set_id,
              int rank, int ranks);
  ShardPacker(const ShardPacker&) = delete;
  ShardPacker& operator=(const ShardPacker&) = delete;
  ~ShardPacker();  // has the threads stop at their next image

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
  void work();
  void pack_shard(std::int64_t shard);
  ShardForecast forecast(std::int64_t begin, std::int64_t end) const;

  const ImageSource& source_;
  const PackOptions& options_;
  const PackPlan& plan_;
  const std::string& set_id_;
  const std::int64_t stride_;
  std::atomic<std::int64_t> next_;
  std::atomic<std::int64_t> images_ = 0, bytes_ = 0, broken_ = 0;
  std::atomic<bool> stop_ = false;

  std::mutex mutex_;
  std::condition_variable ended_;
  int running_ = 0;
  std::exception_ptr failure_;
  std::vector<ShardNote> notes_;
  std::int64_t num_kept_ = 0;
  std::vector<std::thread> threads_;
};

}  // namespace maskedkd
