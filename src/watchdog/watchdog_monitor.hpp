// The watchdog's thread in a rank. It looks at the main thread, lets the rank's role (rank 0 leads, the others follow)
// judge by what it saw, and ends the process where that says so.
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
  // Collective, by the main thread.
  Monitor(const MpiSession& session, WatchdogOptions options);
  void stop() noexcept;
  void watch(Communicator* communicator) { ender_.watch(communicator); }

 private:
  void run();
  bool wait(double seconds);  // whether it is to stop
  // Whether the job ends: returns only where there is WatchdogOptions::on_hang.
  bool lead(double passed_s);
  bool follow(double passed_s);
  void say_goodbye();

  const MpiSession& session_;
  const WatchdogOptions options_;
  const double tick_s_;
  MainThreadObserver main_;
  JobEnder ender_;
  std::optional<WatchdogLeader> leader_;      // rank 0's
  std::optional<WatchdogFollower> follower_;  // the other ranks'

  std::mutex mutex_;
  std::condition_variable wake_;
  bool stopping_ = false;
  std::promise<void> settled_;  // the link is made, or given up
  std::thread thread_;
};

}  // namespace maskedkd
