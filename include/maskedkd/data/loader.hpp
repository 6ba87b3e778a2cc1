// Micro-batches, decoded and augmented by worker threads ahead of the training loop, handed out in the order asked for,
// with bounded memory. The trainer, the evaluator and the preview pull from it. Does not know ranks: the caller asks
// for the micro-batches that are its own.
//
// The workers' unit is the record, not the micro-batch: what is open (asked for and not yet handed out) is a queue of
// records, each with all the places in open micro-batches that want a crop of it. So an image that comes several times
// (repeated augmentation) is read and decoded once, and the first micro-batch is there after a part of a second.
#pragma once

#include "maskedkd/augment/augment.hpp"
#include "maskedkd/base/philox.hpp"
#include "maskedkd/kernels/augment_images.hpp"
#include "maskedkd/shards/shard_reader.hpp"

#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

namespace maskedkd {

// What to load next: a training micro-batch (augmented by its address) or an evaluation batch.
struct BatchRequest {
  std::uint32_t epoch = 0;
  std::uint32_t step = 0;
  std::uint32_t micro_batch = 0;
  std::vector<std::int64_t> indices;  // [B] records

  // Where the random numbers of a decision about this micro-batch, or about the image at `position` of it, are drawn.
  RandomAddress address(RandomPurpose purpose, std::uint64_t seed, std::uint32_t position = 0) const {
    return {seed, purpose, epoch, step, micro_batch, position};
  }
};

struct Erasure {
  PixelBox box;
  std::vector<float> noise;  // [3, box.height, box.width], what AugmentOptions::erasing_mode says
};

struct MicroBatch {
  BatchRequest request;
  at::Tensor images;                           // [B, S, S, 3] uint8, CPU (pinned where asked); or
  std::optional<RawCrops> crops;               // what to make them of, where LoaderOptions::raw_crops
  at::Tensor labels;                           // [B] int64, CPU
  std::vector<std::vector<Erasure>> erasures;  // [B], in order of application; empty in evaluation
};

struct LoaderOptions {
  bool training = true;  // augmented, or DeiT's evaluation transform
  std::uint64_t seed = 0;
  AugmentOptions augment;
  int num_workers = 2;           // threads, >= 1
  int prefetch = 4;              // micro-batches that may be ready or in work beyond the one handed out, >= 1
  int open_together = 1;         // micro-batches that are asked for at once, so that they share decoded records
  at::Device device = at::kCPU;  // where batches go: for a GPU their memory is pinned
  bool raw_crops = false;  // training: crops as they are decoded, with their plans, for augmented_images(). One of
                           // more than kRawCropPixels * S * S pixels comes resized: so memory is bounded
  std::function<void()> on_record;  // called by a worker after each record: the loading goes on; empty: nothing
  int bad_records_limit = 0;  // different damaged records that are told and replaced by the next good one of the set
                              // (with its label); one more ends the loading. 0: the first one does
};

// Of a 500 x 375 photograph at S = 224 every crop is smaller.
inline constexpr int kRawCropPixels = 4;

class Loader {
 public:
  // next_request is called from worker threads one at a time, in order; nullopt ends the loader. `set` outlives it.
  using RequestSource = std::function<std::optional<BatchRequest>()>;
  Loader(const ShardSet& set, LoaderOptions options, RequestSource next_request);
  Loader(const Loader&) = delete;
  Loader& operator=(const Loader&) = delete;
  ~Loader();  // ends and joins the workers, also in the middle of an epoch

  // Blocks until the next batch, in the order of the requests; nullopt at the end. Rethrows the Error of a worker, with
  // shard and record in its message. Call from one thread. Where memory is not pinned, the batch's memory is used again
  // once nothing refers to it any more.
  std::optional<MicroBatch> next();

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
