// Copies a set to the node's own disk while it is in use. The ranks of a node share the shards out among them, and each
// reads every copy that any of them finished: a copy appears under its name when it is whole and has the SHA-256 of the
// index, and nothing but these names is exchanged. (One of an earlier run is compared again by the rank whose share it
// is; until then its records have their checksums.) What does not fit, or can't be copied, is read where it was. Copies
// stay for the next run: under $TMPDIR the cluster removes them with the job.
#pragma once

#include "maskedkd/shards/shard_reader.hpp"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>

namespace maskedkd {

struct StagingOptions {
  std::filesystem::path directory;  // on the node; the copies go into a folder of the set's id in it
  double leave_free = 0.1;          // share of that file system that stays free for others, [0, 1)
  int local_rank = 0;               // among the ranks of this node
  int local_size = 1;
  void validate() const;  // throws Error (usage) naming the flag
};

class Staging {
 public:
  struct Progress {
    std::size_t num_shards = 0;
    std::size_t num_near = 0;  // read from a copy by this process
    std::uint64_t bytes_copied = 0;
    bool finished = false;  // nothing more will be copied by this rank or awaited from others
  };

  // Returns at once; a thread of its own copies. `set` outlives it. Throws Error (usage) where the directory can't be
  // written to. One line tells the end of it (rank 0 of the node), or what was in the way.
  Staging(const ShardSet& set, StagingOptions options);
  Staging(const Staging&) = delete;
  Staging& operator=(const Staging&) = delete;
  ~Staging();  // ends after the piece of 4 MiB, or the old copy, that is in work; what is whole stays

  Progress progress() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace maskedkd
