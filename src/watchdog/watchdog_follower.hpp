// The watchdog's part in every rank but 0: reports to rank 0 what this rank does, obeys it, and notices where rank 0
// itself is silent.
#pragma once

#include "watchdog_link.hpp"

#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace maskedkd {

class WatchdogFollower {
 public:
  // host_of_rank_0: for messages. given_timeout_s: as in WatchdogOptions.
  WatchdogFollower(Invitation invitation, int rank, const std::string& host_of_rank_0,
                   std::optional<double> given_timeout_s);

  // Reaches rank 0 within seconds, or says once that this rank watches itself only. own: this rank's state. wait:
  // sleeps so many seconds; true where the watchdog is to stop.
  void connect(const RankState& own, const std::function<bool(double seconds)>& wait);

  struct Verdict {
    std::string report;        // to be reported by this rank; empty: rank 0 reports
    bool shows_stack = false;  // of this rank's main thread
    double delay_s = 0;        // before the report, and before the end
  };
  // Takes in what rank 0 says, passed_s seconds after the last time, and reports. error: of this rank's communicator;
  // empty: none. How this process ends, if it does.
  std::optional<Verdict> follow(double passed_s, const RankState& own, const std::string& error);
  // Says that this rank leaves. The link, if there is one, to be read until the other side closes it.
  std::vector<Link> say_goodbye(const RankState& own);

 private:
  std::optional<Verdict> follow_rank_0(double passed_s, const RankState& own, const std::string& error);
  std::optional<Verdict> follow_alone(const RankState& own) const;
  void report(Frame::Kind kind, RankState state);
  // Whether rank 0 has answered on the link that was just made, or the watchdog is to stop.
  bool is_answered(const std::function<bool(double seconds)>& wait);

  Invitation invitation_;
  int rank_;
  std::optional<double> given_timeout_s_;
  std::optional<Link> link_;  // none: rank 0 has left, or can't be reached
  RankState rank_0_;
  double timeout_s_;  // as rank 0 has it now
};

}  // namespace maskedkd
