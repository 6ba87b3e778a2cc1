// Micro-batches, decoded and augmented by worker threads ahead of the training loop, handed out in the order asked for,
// with bounded memory. The trainer, the evaluator and the preview pull from it. Does not know ranks: the caller asks
// for the micro-batches that are its own.
#pragma once

#include "maskedkd/images/augment.hpp"
#include "maskedkd/images/shard_reader.hpp"

#include <ATen/core/Tensor.h>

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
};

struct Erasure {
  PixelBox box;
  std::vector<float> noise;  // [3, box.height, box.width], what AugmentOptions::erasing_mode says
};

struct MicroBatch {
  BatchRequest request;
  at::Tensor images;                           // [B, S, S, 3] uint8, CPU (pinned where asked)
  at::Tensor labels;                           // [B] int64, CPU
  std::vector<std::vector<Erasure>> erasures;  // [B], in order of application; empty in evaluation
};

struct LoaderOptions {
  bool training = true;  // augmented, or DeiT's evaluation transform
  std::uint64_t seed = 0;
  AugmentOptions augment;
  int num_workers = 2;      // threads, >= 1
  int prefetch = 4;         // micro-batches that may be ready or in work beyond the one handed out, >= 1
  bool pin_memory = false;  // for copies to a GPU
};

class Loader {
 public:
  // next_request is called from worker threads one at a time, in order; nullopt ends the loader. `set` outlives it.
  using RequestSource = std::function<std::optional<BatchRequest>()>;
  Loader(const ShardSet& set, LoaderOptions options, RequestSource next_request);
  Loader(const Loader&) = delete;
  Loader& operator=(const Loader&) = delete;
  ~Loader();  // ends and joins the workers, also in the middle of an epoch

  // Blocks until the next batch, in the order of the requests; nullopt at the end. Rethrows the Error of a worker, with
  // shard and record in its message. Call from one thread.
  std::optional<MicroBatch> next();
  // Time that next() has blocked since construction, seconds.
  double seconds_waited() const noexcept;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace maskedkd
