#include "maskedkd/distill/mask_options.hpp"

#include "maskedkd/base/enum_names.hpp"
#include "maskedkd/base/error.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <numbers>

namespace maskedkd {
namespace {

constexpr EnumNames<MaskCriterion, 5> kCriteria = {{{"student", MaskCriterion::student},
                                                    {"random", MaskCriterion::random},
                                                    {"lowest", MaskCriterion::lowest},
                                                    {"teacher", MaskCriterion::teacher},
                                                    {"all", MaskCriterion::all}}};
constexpr EnumNames<KeepSchedule, 3> kSchedules = {
    {{"constant", KeepSchedule::constant}, {"linear", KeepSchedule::linear}, {"cosine", KeepSchedule::cosine}}};

// A half that floating point misses narrowly still rounds up, on every machine.
std::int64_t round_half_up(double value) { return static_cast<std::int64_t>(std::floor(value + 0.5 + 1e-9)); }

// Parses the whole text as a number.
template <typename Number>
bool read(const std::string& text, Number& number) {
  const char* end = text.data() + text.size();
  const auto [stopped, failure] = std::from_chars(text.data(), end, number);
  return failure == std::errc() && stopped == end;
}

}  // namespace

MaskCriterion parse_mask_criterion(const std::string& text) { return parse_name(kCriteria, text, "--mask-criterion"); }
std::string to_string(MaskCriterion criterion) { return name_of(kCriteria, criterion); }
bool uses_student_attention(MaskCriterion criterion) {
  return criterion == MaskCriterion::student || criterion == MaskCriterion::lowest;
}

KeepSchedule parse_keep_schedule(const std::string& text) { return parse_name(kSchedules, text, "--keep-schedule"); }
std::string to_string(KeepSchedule schedule) { return name_of(kSchedules, schedule); }

KeepCount KeepCount::patches(std::int64_t number) { return parse(std::to_string(number), "keep"); }
KeepCount KeepCount::share(double share) { return {0, share}; }

KeepCount KeepCount::parse(const std::string& text, const std::string& flag) {
  const bool whole = !text.empty() && text.find_first_not_of("0123456789") == std::string::npos;
  std::int64_t number = 0;
  double share = 0;
  if (whole && read(text, number) && number >= 1) {
    return {number, 0};
  }
  if (!whole && read(text, share) && share > 0 && share <= 1) {
    return {0, share};
  }
  throw usage_error(
      fmt::format("--{} {} is neither a number of patches (at least 1) nor a share of them (above 0, at most 1.0)",
                  flag, text.empty() ? "''" : text),
      "98 means 98 patches, 0.5 half of the teacher's, 1.0 all of them");
}

std::int64_t KeepCount::of(std::int64_t num_patches, const std::string& flag) const {
  if (number_ > num_patches) {
    throw usage_error(fmt::format("--{} {} is outside 1..{}, the number of patches", flag, number_, num_patches),
                      "give fewer, or a share of them such as 0.5");
  }
  return number_ > 0 ? number_ : std::max<std::int64_t>(1, round_half_up(share_ * static_cast<double>(num_patches)));
}

std::string KeepCount::to_string() const {
  return number_ > 0 ? std::to_string(number_) : share_ == 1 ? "1.0" : fmt::format("{}", share_);
}

std::int64_t MaskOptions::kept_patches(std::int64_t epoch, std::int64_t num_epochs, std::int64_t num_patches) const {
  if (criterion == MaskCriterion::all) {
    return num_patches;
  }
  const std::int64_t last = keep.of(num_patches, "keep");
  if (schedule == KeepSchedule::constant || num_epochs == 1) {
    return last;
  }
  const auto first = static_cast<double>(keep_start.of(num_patches, "keep-start"));
  const double time = static_cast<double>(epoch) / static_cast<double>(num_epochs - 1);
  const double left = schedule == KeepSchedule::linear ? 1 - time : (1 + std::cos(std::numbers::pi * time)) / 2;
  return round_half_up(static_cast<double>(last) + (first - static_cast<double>(last)) * left);
}

}  // namespace maskedkd
