// What the ranks tell one another after each step, so that all of them decide alike: packed into doubles for one
// gather, and merged. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace maskedkd {

// One rank's.
struct RankReport {
  std::vector<double> losses;   // of its micro-batches, in their order
  bool stop = false;            // a signal or the time limit asks this rank to stop
  bool checkpoint_due = false;  // by this rank's clock and step
  bool saving = false;          // its part of a checkpoint is still being written
  bool save_failed = false;     // its last one failed; reported once
};

// All ranks' together.
struct StepReport {
  std::vector<double> losses;   // of the step's micro-batches, in their order
  bool stop = false;            // some rank asks for it
  bool checkpoint_due = false;  // rank 0 says so: clocks differ
  bool saving = false;          // some rank
  bool save_failed = false;     // some rank

  double loss_sum() const;
  // The first micro-batch whose loss is not finite.
  std::optional<int> first_not_finite() const;
};

// As many values on every rank: the losses of the rank with the most micro-batches, then four flags.
std::vector<double> pack_report(const RankReport& report, int micro_batches_per_step, int world_size);
// gathered: the packed reports of ranks 0, 1, ..., end to end.
StepReport merge_reports(std::span<const double> gathered, int micro_batches_per_step, int world_size);

}  // namespace maskedkd
