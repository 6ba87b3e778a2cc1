// What the ranks exchange after each step, to decide alike: packed into doubles for one gather, and merged. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace maskedkd {

struct RankReport {
  std::vector<double> losses;   // of its micro-batches, in their order
  bool stop = false;            // a signal or the time limit requires a stop
  bool checkpoint_due = false;  // by this rank's clock and step
  bool saving = false;          // its part of a checkpoint is still being written
  bool save_failed = false;     // its last save failed; reported once
};

struct StepReport {
  std::vector<double> losses;   // of the step's micro-batches, in their order
  bool stop = false;            // on any rank
  bool checkpoint_due = false;  // on rank 0, as clocks differ
  bool saving = false;          // on any rank
  bool save_failed = false;     // on any rank

  double loss_sum() const;
  // The first micro-batch whose loss is not finite.
  std::optional<int> first_not_finite() const;
};

// The same length on every rank: the losses of the rank with the most micro-batches, then four flags.
std::vector<double> pack_report(const RankReport& report, int micro_batches_per_step, int world_size);
// gathered: the packed reports of ranks 0, 1, ..., end to end.
StepReport merge_reports(std::span<const double> gathered, int micro_batches_per_step, int world_size);

}  // namespace maskedkd
