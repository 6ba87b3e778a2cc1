// Micro-batches, decoded and augmented by worker threads ahead of the training loop, and returned in the order of the
// requests, with bounded memory. Used by the trainer, the evaluator and the preview. Independent of ranks: the caller
// requests the micro-batches of its rank.
//
// Workers process records, not micro-batches: the open micro-batches (requested and not yet returned) form a queue of
// records, each with all the positions in them that need a crop of it. So an image that occurs several times (repeated
// augmentation) is read and decoded once, and the first micro-batch is ready early.
#pragma once

#include "maskedkd/augment/augment.hpp"
#include "maskedkd/data/batch_request.hpp"
#include "maskedkd/data/staged_batch.hpp"
#include "maskedkd/kernels/augment_images.hpp"
#include "maskedkd/shards/shard_reader.hpp"

#include <c10/core/Device.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

namespace maskedkd {

struct MicroBatch {
  BatchRequest request;
  StagedBatch staged;             // on the CPU (pinned for a GPU); of evaluation pixels and labels alone
  std::optional<RawCrops> crops;  // with LoaderOptions::raw_crops, instead of pixels, which augmented_images() makes
};

struct LoaderOptions {
  bool training = true;  // augmented, else DeiT's evaluation transform
  std::uint64_t seed = 0;
  AugmentOptions augment;
  DecisionOptions decisions;     // training
  int num_workers = 2;           // threads, >= 1
  int prefetch = 4;              // micro-batches that may be ready or in progress beyond the one returned last, >= 1
  int open_together = 1;         // micro-batches that are requested at once, so that they share decoded records
  at::Device device = at::kCPU;  // where batches are used: for a GPU their memory is pinned
  bool raw_crops = false;  // training: unchanged crops with their plans, for augmented_images(). A crop of more than
                           // kRawCropPixels * S * S pixels is resized, so that memory is bounded
  std::function<void()> on_record;  // called by a worker after each record, as a sign of progress; may be empty
  int bad_records_limit = 0;        // different damaged records that are reported and replaced by the next good record
                                    // (with its label); one more ends the loading. 0: the first one does
};

// At S = 224 every crop of a 500 x 375 photograph is smaller.
inline constexpr int kRawCropPixels = 4;

class Loader {
 public:
  // next_request is called by worker threads, one at a time and in order; nullopt: no more. `set` outlives this.
  using RequestSource = std::function<std::optional<BatchRequest>()>;
  Loader(const ShardSet& set, LoaderOptions options, RequestSource next_request);
  Loader(const Loader&) = delete;
  Loader& operator=(const Loader&) = delete;
  ~Loader();  // stops and joins the workers, also in the middle of an epoch

  // Blocks until the next batch, in the order of the requests; nullopt at the end. Rethrows the Error of a worker,
  // which names shard and record. Call from one thread. Unpinned memory is reused when nothing refers to the batch.
  std::optional<MicroBatch> next();

  // Whether next() would not block now.
  bool is_ready() const;

  struct Counts {
    double seconds_waited = 0;  // that next() has blocked
    std::int64_t records_decoded = 0;
    std::int64_t images_made = 0;  // crops of them
    std::int64_t bad_records = 0;  // different ones
  };
  Counts counts() const;  // since construction

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace maskedkd
