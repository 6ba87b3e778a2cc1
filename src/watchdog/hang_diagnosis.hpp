// Decides which ranks hang, from what rank 0 knows about all of them; clocks and sockets are elsewhere.
#pragma once

#include "maskedkd/base/activity.hpp"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace maskedkd {

// absent: never connected. left: announced its end. died: its connection closed without that.
enum class RankLink { absent, linked, left, died };

struct RankState {
  std::string host;
  RankLink link = RankLink::absent;
  double silent_s = 0;   // since the last report of its watchdog; of a dead rank: since it died
  double stalled_s = 0;  // since the last beat of its main thread, as of that report
  double awake = 0;      // fraction of stalled_s in which it ran or was ready to: waiting in MPI polls
  double longest_s = 0;  // its longest interval between beats so far, outside slow phases
  std::uint64_t collectives = 0;
  bool waits = false;  // for other ranks
  Activity::Pace pace = Activity::Pace::slow;
  std::string doing;
};

// Seconds without a beat that count as a hang: `given`, or ten times the longest interval, at least kShortestTimeout_s.
double hang_timeout_s(std::span<const RankState> ranks, std::optional<double> given);
inline constexpr double kShortestTimeout_s = 60;
inline constexpr double kSlowPace = 5;  // factor for slow phases, where the timeout is learned

struct Hang {
  std::vector<int> hung_ranks;  // in order; without the ranks that only wait for them
  std::string description;      // one line: "rank 3 on host b has not responded for ... s; last: step 17: forward"

  bool is_hung(int rank) const { return std::find(hung_ranks.begin(), hung_ranks.end(), rank) != hung_ranks.end(); }
};

// nullopt: no rank hangs. ranks: indexed by rank. The hung ranks are
//  1. ranks that died some seconds ago (the launcher usually ends the job first), or are silent for the timeout; else
//  2. ranks whose main thread stalls while it does not wait for other ranks; else
//  3. where all remaining ranks wait and stall, those that have entered the fewest collectives, and among several of
//     them those that sleep while others poll.
std::optional<Hang> find_hang(std::span<const RankState> ranks, std::optional<double> given_timeout_s);

}  // namespace maskedkd
