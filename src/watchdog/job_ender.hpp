// Ends this process because of a hang: one error line, the stack of the main thread where it is the one that hangs, the
// communicator aborted, ExitCode::requeue. Also the watch over the communicator, whose errors end the job in the same
// way.
#pragma once

#include <functional>
#include <mutex>
#include <string>

namespace maskedkd {

class Communicator;

class JobEnder {
 public:
  // on_hang: as in WatchdogOptions; called in place of reporting and ending.
  JobEnder(int rank, std::function<void(const std::string&)> on_hang);

  // Any thread. nullptr: there is none (any more).
  void watch(Communicator* communicator);
  // One line; empty: no error is known of.
  std::string communicator_error();

  // In one error line. The process ends within seconds from here, even where standard error or a driver blocks.
  void report(const std::string& what);
  // Returns only where there is on_hang. with_stack: this rank's main thread is to be shown.
  void end(bool with_stack);

 private:
  int rank_;
  std::function<void(const std::string&)> on_hang_;
  std::string reported_;
  std::mutex mutex_;
  Communicator* communicator_ = nullptr;
};

}  // namespace maskedkd
