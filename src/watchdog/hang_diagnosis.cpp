#include "hang_diagnosis.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <functional>

namespace maskedkd {
namespace {

constexpr double kLauncherNeeds_s = 3;
constexpr std::size_t kMostTold = 4;

std::string tell(const RankState& state, double timeout_s) {
  switch (state.link) {
    case RankLink::died:
      return fmt::format("has died; last: {}", state.doing);
    case RankLink::absent:
      return "has no link to say what it does, and all others wait";
    default:
      return state.silent_s >= timeout_s
                 ? fmt::format("does not answer for {:.0f} s (stopped, or its link is dead); last: {}", state.silent_s,
                               state.doing)
                 : fmt::format("hangs for {:.0f} s: {}", state.stalled_s, state.doing);
  }
}

Hang hang_of(std::span<const RankState> ranks, const std::vector<int>& culprits, double timeout_s) {
  Hang hang{culprits, ""};
  for (std::size_t i = 0; i < std::min(culprits.size(), kMostTold); ++i) {
    const RankState& state = ranks[static_cast<std::size_t>(culprits[i])];
    hang.description += fmt::format("{}rank {}{} {}", i > 0 ? "; " : "", culprits[i],
                                    state.host.empty() ? "" : " on host " + state.host, tell(state, timeout_s));
  }
  if (culprits.size() > kMostTold) {
    hang.description +=
        fmt::format("; and so do ranks {}", fmt::join(culprits.begin() + kMostTold, culprits.end(), ", "));
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
  const auto those = [&](const std::function<bool(const RankState&)>& is_one) {
    std::vector<int> found;
    for (std::size_t rank = 0; rank < ranks.size(); ++rank) {
      if (is_one(ranks[rank])) {
        found.push_back(static_cast<int>(rank));
      }
    }
    return found;
  };
  const auto hang_if_any = [&](const std::vector<int>& culprits) {
    return culprits.empty() ? std::nullopt : std::optional(hang_of(ranks, culprits, timeout_s));
  };
  const auto stalls = [&](const RankState& state) {
    const bool may_be_slow = !given_timeout_s && state.pace == Activity::Pace::slow;
    return state.stalled_s >= timeout_s * (may_be_slow ? kSlowPace : 1);
  };
  const auto linked = [](const RankState& state) { return state.link == RankLink::linked; };

  if (auto hang = hang_if_any(those([&](const RankState& state) {
        return (state.link == RankLink::died && state.silent_s >= kLauncherNeeds_s) ||
               (linked(state) && state.silent_s >= timeout_s);
      }))) {
    return hang;
  }
  if (auto hang =
          hang_if_any(those([&](const RankState& state) { return linked(state) && !state.waits && stalls(state); }))) {
    return hang;
  }

  // All wait, as far as that is known.
  const bool somebody_goes_on = std::any_of(ranks.begin(), ranks.end(), [&](const RankState& state) {
    return (linked(state) && (!state.waits || state.silent_s >= timeout_s / 4)) || state.link == RankLink::died;
  });
  std::vector<int> behind = those(linked);
  if (somebody_goes_on || behind.empty()) {
    return std::nullopt;
  }
  const auto state_of = [&](int rank) -> const RankState& { return ranks[static_cast<std::size_t>(rank)]; };
  const std::vector<int> absent = those([](const RankState& state) { return state.link == RankLink::absent; });
  if (!absent.empty()) {  // any of them may be the one; a little longer, so that a late link is not one
    const bool all_stall = std::all_of(behind.begin(), behind.end(), [&](int rank) {
      return stalls(state_of(rank)) && state_of(rank).stalled_s >= 1.5 * timeout_s;
    });
    return all_stall ? hang_if_any(absent) : std::nullopt;
  }
  std::uint64_t fewest = state_of(behind.front()).collectives;
  for (const int rank : behind) {
    fewest = std::min(fewest, state_of(rank).collectives);
  }
  std::erase_if(behind, [&](int rank) { return state_of(rank).collectives != fewest; });
  if (!std::all_of(behind.begin(), behind.end(), [&](int rank) { return stalls(state_of(rank)); })) {
    return std::nullopt;
  }
  std::vector<int> asleep = behind;
  std::erase_if(asleep, [&](int rank) { return state_of(rank).awake >= 0.5; });
  return hang_if_any(asleep.empty() ? behind : asleep);
}

}  // namespace maskedkd
