// Copies a set to the node's local disk while it is in use. The shards are divided among the ranks of a node, and each
// rank reads every copy that any of them has finished: a copy appears under its final name once it is complete and has
// the SHA-256 of the index, and the ranks exchange nothing but these names. (A copy of an earlier run is verified again
// by the rank that it is assigned to; until then its records are protected by their own checksums.) A shard that does
// not fit, or can't be copied, is read from the original. Copies stay for the next run; below $TMPDIR the cluster
// removes them with the job.
#pragma once

#include "maskedkd/shards/shard_reader.hpp"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>

namespace maskedkd {

struct StagingOptions {
  std::filesystem::path directory;  // on the node; the copies go into a folder in it that is named after the set's id
  double leave_free = 0.1;          // fraction of that file system that stays free for others, [0, 1)
  int local_rank = 0;               // among the ranks of this node
  int local_size = 1;
  void validate() const;  // throws Error (usage) naming the flag
};

class Staging {
 public:
  struct Progress {
    std::size_t num_shards = 0;
    std::size_t num_staged = 0;  // shards that this process reads from a copy
    std::uint64_t bytes_copied = 0;
    bool finished = false;  // this rank will copy nothing more, and wait for no more copies of other ranks
  };

  // Returns at once; a background thread copies. `set` must outlive this. Throws Error (usage) where the directory
  // can't be written to. When copying has ended, rank 0 of the node logs one line with the result; a failure is a
  // warning.
  Staging(const ShardSet& set, StagingOptions options);
  Staging(const Staging&) = delete;
  Staging& operator=(const Staging&) = delete;
  ~Staging();  // waits for the piece of 4 MiB that is being copied, or the old copy that is being verified

  Progress progress() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace maskedkd
