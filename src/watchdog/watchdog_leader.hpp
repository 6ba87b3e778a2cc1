// Rank 0's part of the watchdog: hears what all ranks do, answers them, and judges who hangs. Sends and receives
// without waiting.
#pragma once

#include "watchdog_link.hpp"

#include <optional>
#include <string>
#include <vector>

namespace maskedkd {

class WatchdogLeader {
 public:
  // hosts: of all ranks. given_timeout_s: as in WatchdogOptions.
  WatchdogLeader(Socket listener, std::string token, const std::vector<std::string>& hosts,
                 std::optional<double> given_timeout_s);

  // Takes in what the ranks have reported, passed_s seconds after the last time, and answers. own: rank 0's state.
  // error: of rank 0's communicator; empty: none. What ends the job, if something does.
  std::optional<Hang> judge(double passed_s, const RankState& own, const std::string& error);
  // Tells every rank to end, and the culprits to show their stacks first.
  void send_end(const Hang& hang, const RankState& own);
  // Says that rank 0 leaves. The links, to be read until the other side closes them.
  std::vector<Link> say_goodbye(const RankState& own);

 private:
  struct Peer {
    Link link;
    int rank = -1;  // not known yet
  };

  void accept_all();
  // The failure that it reports, or nothing.
  std::optional<std::string> hear(Peer& peer, const Frame& frame);
  RankState& state_of(const Peer& peer) { return ranks_[static_cast<std::size_t>(peer.rank)]; }

  Socket listener_;
  std::string token_;
  std::optional<double> given_timeout_s_;
  std::vector<Peer> peers_;
  std::vector<RankState> ranks_;
};

}  // namespace maskedkd
