#include "maskedkd/train/evaluator.hpp"

#include "maskedkd/base/error.hpp"
#include "maskedkd/base/progress.hpp"
#include "maskedkd/base/running_clock.hpp"
#include "maskedkd/comm/mpi_session.hpp"
#include "maskedkd/data/loader.hpp"
#include "maskedkd/kernels/prepare_batch.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/topk.h>

#include <algorithm>
#include <chrono>
#include <numeric>

namespace maskedkd {
namespace {

// The sums of one batch, as doubles for the gather.
enum Column { loss_sum, top1_hits, top5_hits, num_columns };

BatchRequest batch_request(std::int64_t batch, std::int64_t size, std::int64_t num_records) {
  BatchRequest request;
  request.indices.resize(static_cast<std::size_t>(std::min(size, num_records - batch * size)));
  std::iota(request.indices.begin(), request.indices.end(), batch * size);
  return request;
}

// Few enough to stop within seconds, and enough that the ranks rarely wait for one another.
constexpr std::int64_t kBatchesBetweenStopChecks = 4;

}  // namespace

void EvaluationOptions::validate() const {
  augment.validate();
  if (batch < 1 || num_workers < 1 || prefetch < 1) {
    throw usage_error(fmt::format("--eval-batch {}, --workers {} and --prefetch {} must be at least 1", batch,
                                  num_workers, prefetch));
  }
}

std::optional<EvaluationResult> evaluate(const MpiSession& session, const Vit& model, at::Device device,
                                         const ShardSet& set, const EvaluationOptions& options,
                                         const std::string& title) {
  if (set.num_classes() > model.options().num_classes) {
    throw usage_error(fmt::format("{} has {} classes, the model {}", set.directory().string(), set.num_classes(),
                                  model.options().num_classes),
                      "evaluate on the classes that the model was trained on");
  }
  const at::NoGradGuard no_grad;
  const auto started = RunningClock::now();
  const std::int64_t num_batches = (set.num_records() + options.batch - 1) / options.batch;
  const std::int64_t first = num_batches * session.rank() / session.size();
  const std::int64_t last = num_batches * (session.rank() + 1) / session.size();

  LoaderOptions loading;
  loading.training = false;
  loading.augment = options.augment;
  loading.num_workers = options.num_workers;
  loading.prefetch = options.prefetch;
  loading.device = device;
  loading.on_record = [&session] { session.activity().beat(); };
  loading.bad_records_limit = options.bad_records_limit;
  Loader loader(set, loading, [&, batch = first]() mutable -> std::optional<BatchRequest> {
    return batch == last ? std::nullopt : std::optional(batch_request(batch++, options.batch, set.num_records()));
  });

  const BatchPreparer preparer(device);
  VitForward how;
  how.compute_dtype = options.compute_dtype;
  how.reference_kernels = options.reference_kernels;
  const std::int64_t longest = (num_batches + session.size() - 1) / session.size();  // of all ranks' shares
  std::vector<double> sums(static_cast<std::size_t>(longest * num_columns), 0.0);
  const std::int64_t top = std::min<std::int64_t>(5, model.options().num_classes);
  {
    // Counts the images of all ranks, which proceed at the same pace.
    Progress progress(title, "img", set.num_records(), session.rank() == 0 && !title.empty());
    for (std::int64_t done = 0; done < longest; ++done) {
      if (options.stop && done % kBatchesBetweenStopChecks == 0 && session.any(options.stop())) {
        return std::nullopt;
      }
      const std::int64_t batch = first + done;
      if (batch >= last) {
        continue;
      }
      session.activity().report(fmt::format("evaluation batch {} of {}: waiting for data", done + 1, last - first));
      const std::optional<MicroBatch> loaded = loader.next();
      session.activity().report(fmt::format("evaluation batch {} of {}: forward", done + 1, last - first));
      const StagedViews& staged = loaded->staged.views;
      const at::Tensor labels = staged.labels.to(device, /*non_blocking=*/true);                           // [B]
      const at::Tensor logits = model.forward(preparer.normalised(staged.pixels), how).combined_logits();  // [B, C]
      const at::Tensor hits = std::get<1>(logits.topk(top, 1)).eq(labels.unsqueeze(1)).to(at::kLong);      // [B, 5]
      double* row = &sums[static_cast<std::size_t>(done * num_columns)];
      row[loss_sum] = at::cross_entropy_loss(logits.to(at::kDouble), labels, {}, /*reduction=sum*/ 2).item<double>();
      row[top1_hits] = static_cast<double>(hits.select(1, 0).sum().item<std::int64_t>());
      row[top5_hits] = static_cast<double>(hits.sum().item<std::int64_t>());
      progress.update(std::min((batch + 1 - first) * options.batch * session.size(), set.num_records()), "");
    }
  }

  const std::vector<double> gathered = session.all_gather(sums);  // by rank, and so in the order of the batches
  EvaluationResult result;
  result.num_images = set.num_records();
  double loss = 0, top1 = 0, top5 = 0;
  for (std::size_t row = 0; row < gathered.size(); row += num_columns) {  // beyond the end of a share it is 0
    loss += gathered[row + loss_sum];
    top1 += gathered[row + top1_hits];
    top5 += gathered[row + top5_hits];
  }
  const auto images = static_cast<double>(result.num_images);
  result.loss = loss / images;
  result.accuracy_top1 = 100 * top1 / images;
  result.accuracy_top5 = 100 * top5 / images;
  result.images_per_second = images / std::chrono::duration<double>(RunningClock::now() - started).count();
  return result;
}

}  // namespace maskedkd
