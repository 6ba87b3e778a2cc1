// The micro-batches that one rank trains on, from a point of the run to its end: its contiguous share of every step.
// Pure: the shares of all ranks together are the whole step, for any number of ranks.
#pragma once

#include "maskedkd/data/loader.hpp"
#include "maskedkd/data/sampler.hpp"

#include <optional>

namespace maskedkd {

// Micro-batches [first, last) of each step's M: halves, floor(length / 2) first, while the number of ranks is even,
// then equal parts. So the shares of 2, 4, 8, ... ranks are nodes of the tree in which the trainer adds gradients.
struct MicroBatchShare {
  int first = 0;
  int last = 0;
};
MicroBatchShare micro_batch_share(int micro_batches_per_step, int rank, int world_size);

class MicroBatchSource {
 public:
  // Begins with the first micro-batch of the share in `step` of `epoch`; ends after the last epoch.
  MicroBatchSource(const SamplerOptions& sampler, const MicroBatchShare& share, std::int64_t num_epochs,
                   std::int64_t epoch, std::int64_t step);
  std::optional<BatchRequest> next();

 private:
  SamplerOptions sampler_;
  MicroBatchShare share_;
  std::int64_t num_epochs_;
  std::int64_t epoch_;
  std::int64_t step_;
  int micro_batch_;
  std::optional<EpochOrder> order_;  // of epoch_
};

}  // namespace maskedkd
