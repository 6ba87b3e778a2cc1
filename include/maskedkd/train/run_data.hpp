// The packed sets of a run, the check of their classes, and their copies on the node's own disk.
#pragma once

#include "maskedkd/shards/shard_reader.hpp"
#include "maskedkd/shards/staging.hpp"
#include "maskedkd/train/train_options.hpp"

#include <optional>

namespace maskedkd {

class MpiSession;

class RunData {
 public:
  // Opens both sets. Throws Error (usage), also where their classes differ or exceed the student's.
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
