// Accuracy and loss on a packed set: every image exactly once, with the same results on any number of ranks.
#pragma once

#include "maskedkd/augment/augment.hpp"
#include "maskedkd/model/vit.hpp"
#include "maskedkd/shards/shard_reader.hpp"

#include <functional>
#include <optional>
#include <string>

namespace maskedkd {

class MpiSession;

struct EvaluationOptions {
  AugmentOptions augment;
  int batch = 128;  // images
  int num_workers = 2;
  int prefetch = 4;
  at::ScalarType compute_dtype = at::kFloat;
  bool reference_kernels = false;  // VitForward::reference_kernels
  int bad_records_limit = 0;       // damaged records of each rank that are reported and replaced by the next ones
  // Called on every rank at intervals; as soon as it returns true on one rank, all stop. Empty: never stops.
  std::function<bool()> stop;
  void validate() const;  // throws Error (usage)
};

struct EvaluationResult {
  std::int64_t num_images = 0;
  double loss = 0;           // mean cross entropy over images
  double accuracy_top1 = 0;  // per cent
  double accuracy_top5 = 0;  // per cent; with fewer than 5 classes: among all
  double images_per_second = 0;
};

// Collective. The set is divided into batches independently of the ranks; each batch is evaluated by one rank, and the
// batches' sums are added in their order. The model may have more classes than the set, whose labels are then the first
// of them; predictions of the others are wrong. Throws Error (usage) where it has fewer. Of a distilled model the mean
// of the heads counts. Shows progress where `title` is not empty. nullopt where it was stopped.
std::optional<EvaluationResult> evaluate(const MpiSession& session, const Vit& model, at::Device device,
                                         const ShardSet& set, const EvaluationOptions& options,
                                         const std::string& title);

}  // namespace maskedkd
