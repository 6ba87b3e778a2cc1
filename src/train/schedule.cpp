#include "maskedkd/train/schedule.hpp"

#include "maskedkd/base/error.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace maskedkd {

void ScheduleOptions::validate() const {
  if (!(learning_rate > 0) || !(warmup_rate >= 0) || !(min_rate >= 0) || !std::isfinite(learning_rate)) {
    throw usage_error(fmt::format(
        "--lr {}, --warmup-lr {} and --min-lr {} must be finite, the first above 0 and the others not below",
        learning_rate, warmup_rate, min_rate));
  }
  if (epochs < 1 || !(warmup_epochs >= 0)) {
    throw usage_error(
        fmt::format("--epochs {} must be at least 1 and --warmup-epochs {} at least 0", epochs, warmup_epochs));
  }
}

double learning_rate_at(const ScheduleOptions& options, std::int64_t global_batch, std::int64_t epoch,
                        std::int64_t step, std::int64_t steps_per_epoch) {
  const double peak = options.learning_rate * static_cast<double>(global_batch) / 512.0;
  const double t = options.per_step
                       ? static_cast<double>(epoch) + static_cast<double>(step) / static_cast<double>(steps_per_epoch)
                       : static_cast<double>(std::max<std::int64_t>(0, epoch - 1));
  if (t < options.warmup_epochs) {
    return options.warmup_rate + t * (peak - options.warmup_rate) / options.warmup_epochs;
  }
  return options.min_rate + 0.5 * (peak - options.min_rate) * (1.0 + std::cos(std::numbers::pi * t / options.epochs));
}

}  // namespace maskedkd
