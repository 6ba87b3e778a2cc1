// The packed sets of a run, the check of their classes, and their copies on the node's own disk.
#pragma once

#include "maskedkd/shards/shard_reader.hpp"
#include "maskedkd/shards/staging.hpp"
#include "maskedkd/train/train_options.hpp"

#include <optional>

namespace maskedkd {

class MpiSession;

// Collective. Rank 0 opens the set and validates every shard; the others get its tables, and open a shard when they
// read from it. Throws Error (usage).
ShardSet open_set(const MpiSession& session, const std::filesystem::path& directory);

class RunData {
 public:
  // Collective. Opens both sets. Throws Error (usage), also where their classes differ or exceed the student's.
  RunData(const MpiSession& session, const TrainOptions& options);

  const ShardSet& train() const noexcept { return train_; }
  const ShardSet* evaluation() const noexcept { return evaluation_ ? &*evaluation_ : nullptr; }  // nullptr: none

  // From now on shards are copied to --stage-to, if given, while they are read.
  void start_staging(const MpiSession& session, const TrainOptions& options);

 private:
  ShardSet train_;
  std::optional<ShardSet> evaluation_;
  std::optional<Staging> train_staging_, evaluation_staging_;
};

}  // namespace maskedkd
