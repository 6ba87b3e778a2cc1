// The watchdog's thread in a rank. It observes the main thread, lets the rank's role (rank 0 leads, the others follow)
// decide by what it observed, and ends the process if that is the decision.
#pragma once

#include "job_ender.hpp"
#include "main_thread_observer.hpp"
#include "maskedkd/watchdog/watchdog.hpp"
#include "watchdog_follower.hpp"
#include "watchdog_leader.hpp"

#include <condition_variable>
#include <future>
#include <mutex>
#include <thread>

namespace maskedkd {

class Communicator;

class Watchdog::Monitor {
 public:
  // Collective; called by the main thread.
  Monitor(const MpiSession& session, WatchdogOptions options);
  void stop() noexcept;
  void watch(Communicator* communicator) { ender_.watch(communicator); }

 private:
  void run();
  bool wait(double seconds);  // returns whether the watchdog is to stop
  // Return whether the job ends, which they do only where WatchdogOptions::on_hang is set.
  bool lead(double passed_s);
  bool follow(double passed_s);
  void send_goodbye();

  const MpiSession& session_;
  const WatchdogOptions options_;
  const double tick_s_;
  MainThreadObserver main_;
  JobEnder ender_;
  std::optional<WatchdogLeader> leader_;      // on rank 0
  std::optional<WatchdogFollower> follower_;  // on the other ranks

  std::mutex mutex_;
  std::condition_variable wake_;
  bool stopping_ = false;
  std::promise<void> connect_done_;  // the connection is made, or given up
  std::thread thread_;
};

}  // namespace maskedkd
