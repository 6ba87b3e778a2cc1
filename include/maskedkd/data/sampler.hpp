// Which image is where in an epoch: a pure function of (options, epoch), the same for every number of ranks.
// Micro-batch m of M in step s holds, at position p of b, entry (s b + p) M + m of the epoch's list, as in the official
// code with one process for each micro-batch. An incomplete last step is dropped. With repeat_locality it holds entry
// (s M + m) b + p: a step has the same entries, but those of one image lie in one micro-batch (unless its end separates
// them), where it is decoded once. This changes which images are mixed and, as crops are drawn by position, the crops.
#pragma once

#include <cstdint>
#include <vector>

namespace maskedkd {

struct SamplerOptions {
  std::int64_t num_records = 0;
  int micro_batch = 128;           // images
  int micro_batches_per_step = 8;  // global batch / micro-batch
  int repeats = 1;                 // 3: repeated augmentation (Hoffer et al. 2020; Berman et al. 2019)
  std::uint64_t seed = 0;
  bool repeat_locality = false;  // an image's repeats in one micro-batch

  std::int64_t global_batch() const { return std::int64_t{micro_batch} * micro_batches_per_step; }
  // Without repeats floor(N / global batch), else the official floor(floor(N / 256) * 256 / global batch).
  std::int64_t steps_per_epoch() const;
  void validate() const;  // throws Error (usage): fewer images than one global batch, ...
};

class EpochOrder {
 public:
  EpochOrder(const SamplerOptions& options, std::uint32_t epoch);
  // Record indices [micro_batch] of one micro-batch.
  std::vector<std::int64_t> micro_batch(std::int64_t step, int micro_batch) const;

 private:
  SamplerOptions options_;
  std::vector<std::uint32_t> permutation_;
};

}  // namespace maskedkd
