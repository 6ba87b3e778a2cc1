// Accuracy and loss on a packed set: every image exactly once, on any number of ranks, with the same figures.
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
  int bad_records_limit = 0;  // damaged records a rank that are told, and the next one counted in their place
  // Asked on every rank now and then, and answered for all: as soon as one rank says yes, all leave. Empty: never
  // asked.
  std::function<bool()> stop;
  void validate() const;  // throws Error (usage)
};

struct EvaluationResult {
  std::int64_t num_images = 0;
  double loss = 0;           // mean cross entropy over images
  double accuracy_top1 = 0;  // per cent
  double accuracy_top5 = 0;  // per cent; with fewer than 5 classes: among all of them
  double images_per_second = 0;
};

// Collective. The set is cut into batches that do not depend on the ranks; each batch is one rank's, and the batches'
// sums are added in their order. The model may have more classes than the set, whose labels are then the first of them;
// an answer among the others is wrong. Throws Error (usage) where it has fewer. nullopt where it was stopped. A
// distilled model answers with the mean of its heads. Shows progress where `title` is not empty.
std::optional<EvaluationResult> evaluate(const MpiSession& session, const Vit& model, at::Device device,
                                         const ShardSet& set, const EvaluationOptions& options,
                                         const std::string& title);

}  // namespace maskedkd
