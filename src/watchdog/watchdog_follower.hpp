// The watchdog's role on every rank but 0: reports to rank 0, ends when rank 0 asks for it, and notices
// when rank 0 itself is silent.
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
  WatchdogFollower(LeaderAddress leader_address, int rank, const std::string& host_of_rank_0,
                   std::optional<double> given_timeout_s);

  // Connects to rank 0 within seconds, or logs that it can't. own: this rank's state. wait: sleeps; true: stop.
  void connect(const RankState& own, const std::function<bool(double seconds)>& wait);

  struct Ending {
    std::string report;        // to be logged by this rank; empty: rank 0 logs it
    bool shows_stack = false;  // print that of this rank's main thread
    double delay_s = 0;        // before the report and before the end
  };
  // Reads what rank 0 has sent, passed_s seconds after the last call, and reports to it. error: of this rank's
  // communicator; empty: none. Returns how this process ends, if it does.
  std::optional<Ending> follow(double passed_s, const RankState& own, const std::string& error);
  // Announces that this rank leaves. Returns the link, if there is one, to be read until the other side closes it.
  std::vector<Link> send_goodbye(const RankState& own);

 private:
  std::optional<Ending> follow_rank_0(double passed_s, const RankState& own, const std::string& error);
  std::optional<Ending> follow_alone(const RankState& own) const;
  void report(Frame::Kind kind, RankState state);
  // Returns true when rank 0 answers on the new link, or the watchdog is to stop.
  bool wait_for_answer(const std::function<bool(double seconds)>& wait);

  LeaderAddress leader_address_;
  int rank_;
  std::optional<double> given_timeout_s_;
  std::optional<Link> link_;  // nullopt: rank 0 has left, or can't be reached
  RankState rank_0_;
  double timeout_s_;  // last received from rank 0
};

}  // namespace maskedkd
