// The watchdog's thread in a rank: looks at the main thread, and is rank 0, which judges, or one of those that tell it
// what they do. watchdog_monitor.cpp: what all ranks do. watchdog_ranks.cpp: rank 0, and the others.
#pragma once

#include "hang_diagnosis.hpp"
#include "maskedkd/watchdog/watchdog.hpp"
#include "watchdog_link.hpp"

#include <condition_variable>
#include <future>
#include <mutex>
#include <thread>

namespace maskedkd {

class Communicator;

class Watchdog::Monitor {
 public:
  Monitor(const MpiSession& session, WatchdogOptions options);
  void stop() noexcept;
  void watch(Communicator* communicator);

 private:
  struct Peer {
    Link link;
    int rank = -1;  // not known yet
  };

  void run();
  bool wait(double seconds);  // whether it is to stop
  void look_at_main(double passed_s);
  std::string communicator_error();
  void tell(const std::string& told);
  void end(bool with_stack);
  void say_goodbye();

  // Rank 0.
  void lead(double passed_s);
  void hear(Peer& peer, const Frame& frame, std::string& failure);
  void end_all(const Hang& hang);
  RankState& state_of(const Peer& peer) { return ranks_[static_cast<std::size_t>(peer.rank)]; }

  // The other ranks.
  void connect();
  void follow(double passed_s);
  void report(Frame::Kind kind, const std::string& error = {});

  const MpiSession& session_;
  const Activity& activity_;
  const int rank_, size_;
  const WatchdogOptions options_;
  const double tick_s_;
  Invitation invitation_;
  int main_thread_ = 0;  // the system's number

  std::mutex mutex_;
  std::condition_variable wake_;
  bool stopping_ = false;
  std::mutex communicator_mutex_;
  Communicator* communicator_ = nullptr;

  // The thread's.
  RankState own_;
  std::uint64_t beats_ = 0;
  int looks_ = 0, looks_awake_ = 0;  // since the last beat
  Socket listener_;                  // rank 0's
  std::vector<Peer> peers_;          // rank 0's
  std::vector<RankState> ranks_;     // rank 0's
  std::optional<Link> link_;         // to rank 0
  RankState boss_;                   // rank 0
  double boss_timeout_s_ = kShortestTimeout_s;
  std::string told_;
  bool ended_ = false;
  std::promise<void> settled_;  // the link is made, or given up
  std::thread thread_;
};

}  // namespace maskedkd
