#include "hang_diagnosis.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <functional>

namespace maskedkd {
namespace {

constexpr double kLauncherGrace_s = 3;
constexpr std::size_t kMaxDescribed = 4;

std::string describe(const RankState& state, double timeout_s) {
  switch (state.link) {
    case RankLink::died:
      return fmt::format("has died; last: {}", state.doing);
    case RankLink::absent:
      return "is not connected to the watchdog, and all others wait";
    default:
      return state.silent_s >= timeout_s
                 ? fmt::format("has not responded for {:.0f} s (stopped, or its connection is dead); last: {}",
                               state.silent_s, state.doing)
                 : fmt::format("has hung for {:.0f} s: {}", state.stalled_s, state.doing);
  }
}

Hang hang_of(std::span<const RankState> ranks, const std::vector<int>& hung_ranks, double timeout_s) {
  Hang hang{hung_ranks, ""};
  for (std::size_t i = 0; i < std::min(hung_ranks.size(), kMaxDescribed); ++i) {
    const RankState& state = ranks[static_cast<std::size_t>(hung_ranks[i])];
    hang.description += fmt::format("{}rank {}{} {}", i > 0 ? "; " : "", hung_ranks[i],
                                    state.host.empty() ? "" : " on host " + state.host, describe(state, timeout_s));
  }
  if (hung_ranks.size() > kMaxDescribed) {
    hang.description +=
        fmt::format("; likewise ranks {}", fmt::join(hung_ranks.begin() + kMaxDescribed, hung_ranks.end(), ", "));
  }
  return hang;
}

}  // namespace

double hang_timeout_s(std::span<const RankState> ranks, std::optional<double> given) {
  double longest_s = 0;
  for (const RankState& state : ranks) {
    longest_s = std::max(longest_s, state.longest_s);
  }
  return given.value_or(std::max(kShortestTimeout_s, 10 * longest_s));
}

std::optional<Hang> find_hang(std::span<const RankState> ranks, std::optional<double> given_timeout_s) {
  const double timeout_s = hang_timeout_s(ranks, given_timeout_s);
  const auto ranks_where = [&](const std::function<bool(const RankState&)>& condition) {
    std::vector<int> found;
    for (std::size_t rank = 0; rank < ranks.size(); ++rank) {
      if (condition(ranks[rank])) {
        found.push_back(static_cast<int>(rank));
      }
    }
    return found;
  };
  const auto hang_if_any = [&](const std::vector<int>& hung_ranks) {
    return hung_ranks.empty() ? std::nullopt : std::optional(hang_of(ranks, hung_ranks, timeout_s));
  };
  const auto stalls = [&](const RankState& state) {
    const bool may_be_slow = !given_timeout_s && state.pace == Activity::Pace::slow;
    return state.stalled_s >= timeout_s * (may_be_slow ? kSlowPace : 1);
  };
  const auto linked = [](const RankState& state) { return state.link == RankLink::linked; };

  if (auto hang = hang_if_any(ranks_where([&](const RankState& state) {
        return (state.link == RankLink::died && state.silent_s >= kLauncherGrace_s) ||
               (linked(state) && state.silent_s >= timeout_s);
      }))) {
    return hang;
  }
  if (auto hang = hang_if_any(
          ranks_where([&](const RankState& state) { return linked(state) && !state.waits && stalls(state); }))) {
    return hang;
  }

  // As far as is known, all ranks wait.
  const bool some_rank_continues = std::any_of(ranks.begin(), ranks.end(), [&](const RankState& state) {
    return (linked(state) && (!state.waits || state.silent_s >= timeout_s / 4)) || state.link == RankLink::died;
  });
  std::vector<int> suspects = ranks_where(linked);
  if (some_rank_continues || suspects.empty()) {
    return std::nullopt;
  }
  const auto state_of = [&](int rank) -> const RankState& { return ranks[static_cast<std::size_t>(rank)]; };
  const std::vector<int> absent = ranks_where([](const RankState& state) { return state.link == RankLink::absent; });
  if (!absent.empty()) {  // any of them may be the hung one; a longer wait allows for a late connection
    const bool all_stall = std::all_of(suspects.begin(), suspects.end(), [&](int rank) {
      return stalls(state_of(rank)) && state_of(rank).stalled_s >= 1.5 * timeout_s;
    });
    return all_stall ? hang_if_any(absent) : std::nullopt;
  }
  std::uint64_t fewest = state_of(suspects.front()).collectives;
  for (const int rank : suspects) {
    fewest = std::min(fewest, state_of(rank).collectives);
  }
  std::erase_if(suspects, [&](int rank) { return state_of(rank).collectives != fewest; });
  if (!std::all_of(suspects.begin(), suspects.end(), [&](int rank) { return stalls(state_of(rank)); })) {
    return std::nullopt;
  }
  std::vector<int> asleep = suspects;
  std::erase_if(asleep, [&](int rank) { return state_of(rank).awake >= 0.5; });
  return hang_if_any(asleep.empty() ? suspects : asleep);
}

}  // namespace maskedkd
