#include "maskedkd/train/time_limit.hpp"

#include "maskedkd/base/error.hpp"

#include <cmath>
#include <cstdlib>
#include <regex>

namespace maskedkd {
namespace {

// man 1 sbatch, --time: minutes, minutes:seconds, hours:minutes:seconds, days-hours[:minutes[:seconds]].
std::optional<double> parse_slurm_time(const std::string& text) {
  static const std::regex with_days(R"((\d{1,5})-(\d{1,5})(?::(\d{1,5}))?(?::(\d{1,5}))?)");
  static const std::regex without(R"((\d{1,9})(?::(\d{1,5}))?(?::(\d{1,5}))?)");
  std::smatch found;
  const auto number = [&](std::size_t i) { return found[i].matched ? std::atof(found[i].str().c_str()) : 0.0; };
  if (std::regex_match(text, found, with_days)) {
    return ((number(1) * 24 + number(2)) * 60 + number(3)) * 60 + number(4);
  }
  if (std::regex_match(text, found, without)) {
    return found[3].matched ? (number(1) * 60 + number(2)) * 60 + number(3) : number(1) * 60 + number(2);
  }
  return std::nullopt;
}

double from_now(double seconds_since_1970) {
  const std::chrono::duration<double> now = std::chrono::system_clock::now().time_since_epoch();
  return seconds_since_1970 - now.count();
}

}  // namespace

TimeLimit::TimeLimit(const std::string& text, const Environment& environment) {
  if (text == "auto") {
    for (const char* name : {"MASKEDKD_JOB_END", "SLURM_JOB_END_TIME"}) {
      const std::string value = environment(name);
      if (value.empty()) {
        continue;
      }
      if (!std::regex_match(value, std::regex(R"(\d{1,12})"))) {
        throw usage_error(fmt::format("{}={} is not a time in seconds since 1970", name, value),
                          "unset it, or give --time-limit yourself");
      }
      const double left = from_now(std::atof(value.c_str()));
      if (left > 0) {
        is_end_of_job_ = true;
        end_in(left);
        return;
      }
      past_end_warning_ =
          fmt::format("{}={} lies in the past ({:.0f} s ago), so it is not used as this job's end", name, value, -left);
    }
  } else if (text != "none") {
    const std::optional<double> seconds = parse_slurm_time(text);
    if (!seconds) {
      throw usage_error(fmt::format("--time-limit: '{}' is not a time", text),
                        "give auto, none, or a time in sbatch's notation: 90 (minutes), 1:30:00, 2-12:00");
    }
    if (*seconds > 0) {  // 0 means no limit, as for sbatch
      end_in(*seconds);
    }
  }
}

void TimeLimit::end_in(double seconds) { end_ = RunningClock::now() + std::chrono::duration<double>(seconds); }

void TimeLimit::end_at(double seconds_since_1970) {
  const double left = from_now(seconds_since_1970);
  if (std::isinf(left)) {
    end_.reset();
  } else if (left > 0) {
    end_in(left);
  }
}

std::optional<double> TimeLimit::seconds_left() const {
  if (!end_) {
    return std::nullopt;
  }
  return std::chrono::duration<double>(*end_ - RunningClock::now()).count();
}

bool TimeLimit::has_less_than(double seconds) const { return end_ && *seconds_left() < seconds; }

}  // namespace maskedkd
