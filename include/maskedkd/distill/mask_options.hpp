// How much the teacher sees and who chooses it: the criterion, the number of patches and its schedule over the epochs.
// The defaults are the paper's (MaskedKD, Son et al., ECCV 2024): in every epoch the half that the student's class
// token attends to most. A count may be a share, because the teacher's patches are known only with the teacher. Part of
// TrainOptions; read by the distillation step.
#pragma once

#include <cstdint>
#include <string>

namespace maskedkd {

// Which patches the teacher sees.
enum class MaskCriterion {
  student,  // those that the student's last block attends to most
  random,   // any, drawn anew for each image and step
  lowest,   // those that the student attends to least
  teacher,  // those that the teacher itself attends to most, by a full pass before the masked one: costs more than no
            // mask does, and is an upper bound for studies
  all       // no mask
};
MaskCriterion parse_mask_criterion(const std::string& text);  // throws Error (usage) listing the names
std::string to_string(MaskCriterion criterion);

enum class KeepSchedule { constant, linear, cosine };
KeepSchedule parse_keep_schedule(const std::string& text);  // throws Error (usage) listing the names
std::string to_string(KeepSchedule schedule);

// A number of patches, or a share of those that there are.
class KeepCount {
 public:
  static KeepCount patches(std::int64_t number);  // >= 1
  static KeepCount share(double share);           // in (0, 1]
  // "98": patches; "0.5": a share ("1.0": all, "1": one patch). Throws Error (usage) that names `flag`.
  static KeepCount parse(const std::string& text, const std::string& flag);

  // Of num_patches; a share is rounded half up, and at least 1. Throws Error (usage) that names `flag` where there are
  // fewer patches than the number.
  std::int64_t of(std::int64_t num_patches, const std::string& flag) const;
  std::string to_string() const;  // the one text that parse() reads as this
  bool operator==(const KeepCount&) const = default;

 private:
  KeepCount(std::int64_t number, double share) : number_(number), share_(share) {}
  std::int64_t number_;  // 0: a share
  double share_;
};

struct MaskOptions {
  MaskCriterion criterion = MaskCriterion::student;
  KeepCount keep = KeepCount::share(0.5);  // in the last epoch, and with a constant schedule in all of them
  KeepSchedule schedule = KeepSchedule::constant;
  KeepCount keep_start = KeepCount::share(1.0);  // in the first epoch, where the schedule is none of constant

  // Patches that the teacher sees of num_patches in `epoch` (from 0) of num_epochs: the line, or the half cosine, from
  // keep_start to keep at epoch / (num_epochs - 1), rounded half up. Throws Error (usage) on counts past num_patches.
  std::int64_t kept_patches(std::int64_t epoch, std::int64_t num_epochs, std::int64_t num_patches) const;
};

}  // namespace maskedkd
