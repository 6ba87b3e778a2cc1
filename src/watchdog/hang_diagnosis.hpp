// Which ranks hang, of what rank 0 knows about all of them: the watchdog's judgement, without its clocks and sockets.
#pragma once

#include "maskedkd/base/activity.hpp"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace maskedkd {

// absent: never heard of. left: it said that it ends. died: its link closed without that.
enum class RankLink { absent, linked, left, died };

struct RankState {
  std::string host;
  RankLink link = RankLink::absent;
  double silent_s = 0;   // since its monitor was heard last; of one that died: since then
  double stalled_s = 0;  // that its main thread had not beaten for, when it was heard last
  double awake = 0;      // share of that in which it ran or was ready to: who waits in MPI polls
  double longest_s = 0;  // its longest interval between beats so far, but for slow ones
  std::uint64_t collectives = 0;
  bool waits = false;  // for other ranks
  Activity::Pace pace = Activity::Pace::slow;
  std::string doing;
};

// Seconds without a beat that make a hang. given: exact. Without it: learned, ten times the longest interval between
// beats, at least kShortestTimeout_s.
double hang_timeout_s(std::span<const RankState> ranks, std::optional<double> given);
inline constexpr double kShortestTimeout_s = 60;
inline constexpr double kSlowPace = 5;  // times that for what may be slow, where it is learned

struct Hang {
  std::vector<int> culprits;  // ranks in order; those that only wait for them are not among them
  std::string description;    // one line: "rank 3 on host b does not answer (...); last: step 17: forward"

  bool is_culprit(int rank) const { return std::find(culprits.begin(), culprits.end(), rank) != culprits.end(); }
};

// nullopt: nobody hangs. ranks: by rank.
//  1. A rank that has died some seconds ago (the launcher usually ends the job by itself), or is silent for the
//  timeout.
//  2. Else one whose main thread stalls while it does not wait for others.
//  3. Else, where all that are left wait and stall: those that have entered the fewest collectives; among several those
//     that sleep, while others poll.
std::optional<Hang> find_hang(std::span<const RankState> ranks, std::optional<double> given_timeout_s);

}  // namespace maskedkd
