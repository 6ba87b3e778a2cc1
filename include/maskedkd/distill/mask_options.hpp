// How many patches the teacher sees and how they are chosen: the criterion, the number and its schedule over the
// epochs. The defaults are the paper's (MaskedKD, Son et al., ECCV 2024): in every epoch the half that the student's
// class token attends to most. The number may be a share, because it depends on the teacher. Part of TrainOptions.
#pragma once

#include <cstdint>
#include <string>

namespace maskedkd {

// Which patches the teacher sees; TeacherView implements it.
enum class MaskCriterion {
  student,  // those that the student's last block attends to most
  random,   // drawn anew for each image and step
  lowest,   // those that the student attends to least
  teacher,  // those that the teacher itself attends to most in an additional full pass: costs more than no mask,
            // and is an upper bound for studies
  all       // no mask
};
MaskCriterion parse_mask_criterion(const std::string& text);  // throws Error (usage) listing the names
std::string to_string(MaskCriterion criterion);
bool uses_student_attention(MaskCriterion criterion);

enum class KeepSchedule { constant, linear, cosine };
KeepSchedule parse_keep_schedule(const std::string& text);  // throws Error (usage) listing the names
std::string to_string(KeepSchedule schedule);

// A number of patches, or a share of all patches.
class KeepCount {
 public:
  static KeepCount patches(std::int64_t number);  // >= 1
  static KeepCount share(double share);           // in (0, 1]
  // "98": patches; "0.5": a share ("1.0": all, "1": one patch). Throws Error (usage) that names `flag`.
  static KeepCount parse(const std::string& text, const std::string& flag);

  // A share is rounded half up, and at least 1. Throws Error (usage) naming `flag` for a number above num_patches.
  std::int64_t of(std::int64_t num_patches, const std::string& flag) const;
  std::string to_string() const;  // the text that parse() reads as this value
  bool operator==(const KeepCount&) const = default;

 private:
  KeepCount(std::int64_t number, double share) : number_(number), share_(share) {}
  std::int64_t number_;  // 0: a share
  double share_;
};

struct MaskOptions {
  MaskCriterion criterion = MaskCriterion::student;
  KeepCount keep = KeepCount::share(0.5);  // in the last epoch; with a constant schedule in all epochs
  KeepSchedule schedule = KeepSchedule::constant;
  KeepCount keep_start = KeepCount::share(1.0);  // in the first epoch, unless the schedule is constant

  // Patches out of num_patches that the teacher sees in `epoch` (from 0) of num_epochs: a line, or half a cosine, from
  // keep_start to keep at epoch / (num_epochs - 1), rounded half up. Throws Error (usage) on numbers above num_patches.
  std::int64_t kept_patches(std::int64_t epoch, std::int64_t num_epochs, std::int64_t num_patches) const;
};

}  // namespace maskedkd
