// The learning rate of the official run: linear warm-up, then half a cosine that does not subtract the warm-up,
// constant within an epoch and one epoch late (the official loop steps its schedule after the epoch). It gives the
// published rates of 300 epochs to 1e-12; `per_step` follows the same curve without the lag, for runs of few epochs.
#pragma once

#include <cstdint>

namespace maskedkd {

struct ScheduleOptions {
  double learning_rate = 5e-4;  // peak, for a global batch of 512; scaled linearly with the global batch
  double warmup_rate = 1e-6;    // at the start of the warm-up
  double min_rate = 1e-5;       // at the end of the cosine
  double warmup_epochs = 5;
  int epochs = 300;
  bool per_step = false;

  void validate() const;  // throws Error (usage)
};

// The rate of step `step` of `steps_per_epoch` in epoch `epoch` (both from 0). global_batch: images.
double learning_rate_at(const ScheduleOptions& options, std::int64_t global_batch, std::int64_t epoch,
                        std::int64_t step, std::int64_t steps_per_epoch);

}  // namespace maskedkd
