#include "maskedkd/train/step_report.hpp"

#include "maskedkd/train/micro_batch_source.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace maskedkd {
namespace {

enum Flag : std::size_t { flag_stop, flag_due, flag_saving, flag_failed, kNumFlags };

std::size_t most_losses(int micro_batches_per_step, int world_size) {
  return static_cast<std::size_t>((micro_batches_per_step + world_size - 1) / world_size);
}

}  // namespace

double StepReport::loss_sum() const { return std::accumulate(losses.begin(), losses.end(), 0.0); }

std::optional<int> StepReport::first_not_finite() const {
  const auto found = std::find_if(losses.begin(), losses.end(), [](double loss) { return !std::isfinite(loss); });
  return found == losses.end() ? std::nullopt : std::optional(static_cast<int>(found - losses.begin()));
}

std::vector<double> pack_report(const RankReport& report, int micro_batches_per_step, int world_size) {
  const std::size_t flags = most_losses(micro_batches_per_step, world_size);
  std::vector<double> packed = report.losses;
  packed.resize(flags + kNumFlags, 0.0);
  packed[flags + flag_stop] = report.stop ? 1 : 0;
  packed[flags + flag_due] = report.checkpoint_due ? 1 : 0;
  packed[flags + flag_saving] = report.saving ? 1 : 0;
  packed[flags + flag_failed] = report.save_failed ? 1 : 0;
  return packed;
}

StepReport merge_reports(std::span<const double> gathered, int micro_batches_per_step, int world_size) {
  const std::size_t flags = most_losses(micro_batches_per_step, world_size);
  StepReport merged;
  for (int rank = 0; rank < world_size; ++rank) {
    const auto row = gathered.subspan(static_cast<std::size_t>(rank) * (flags + kNumFlags), flags + kNumFlags);
    const MicroBatchShare share = micro_batch_share(micro_batches_per_step, rank, world_size);
    merged.losses.insert(merged.losses.end(), row.begin(), row.begin() + (share.last - share.first));
    merged.stop |= row[flags + flag_stop] != 0;
    merged.checkpoint_due |= rank == 0 && row[flags + flag_due] != 0;
    merged.saving |= row[flags + flag_saving] != 0;
    merged.save_failed |= row[flags + flag_failed] != 0;
  }
  return merged;
}

}  // namespace maskedkd
