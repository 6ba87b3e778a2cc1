// The watchdog's role on rank 0: receives what all ranks do, answers, and decides who hangs. Never blocks.
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

  // Reads what the ranks have reported, passed_s seconds after the last call, and answers. own: rank 0's state. error:
  // of rank 0's communicator; empty: none. Returns what ends the job, if anything does.
  std::optional<Hang> find_hang(double passed_s, const RankState& own, const std::string& error);
  // Asks every rank to end, and the hung ranks to print their stacks first.
  void send_end(const Hang& hang, const RankState& own);
  // Announces that rank 0 leaves. Returns the links, to be read until the other side closes them.
  std::vector<Link> send_goodbye(const RankState& own);

 private:
  struct Peer {
    Link link;
    int rank = -1;  // -1: not known yet
  };

  void accept_all();
  // Returns the failure that the frame reports, if it does.
  std::optional<std::string> handle(Peer& peer, const Frame& frame);
  RankState& state_of(const Peer& peer) { return ranks_[static_cast<std::size_t>(peer.rank)]; }

  Socket listener_;
  std::string token_;
  std::optional<double> given_timeout_s_;
  std::vector<Peer> peers_;
  std::vector<RankState> ranks_;
};

}  // namespace maskedkd
