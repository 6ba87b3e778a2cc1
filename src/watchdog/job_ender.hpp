// Ends this process because of a hang: one error line, the main thread's stack if this rank hangs, the communicator
// aborted, ExitCode::requeue. Also watches the communicator, whose errors end the job in the same way.
#pragma once

#include <functional>
#include <mutex>
#include <string>

namespace maskedkd {

class Activity;
class Communicator;

class JobEnder {
 public:
  // on_hang: as in WatchdogOptions; called instead of logging and ending.
  // activity: of the main thread, which is stopped where it reports next.
  JobEnder(const Activity& activity, int rank, std::function<void(const std::string&)> on_hang);

  // Any thread. nullptr: there is no communicator (any more).
  void watch(Communicator* communicator);
  // In one line; empty: no error is known.
  std::string communicator_error();

  // Logs one error line. From here on the process ends within seconds, even if standard error or a driver blocks.
  void report(const std::string& what);
  // Returns only where on_hang is set. with_stack: print the stack of this rank's main thread.
  void end(bool with_stack);

 private:
  const Activity& activity_;
  int rank_;
  std::function<void(const std::string&)> on_hang_;
  std::string reported_;
  std::mutex mutex_;
  Communicator* communicator_ = nullptr;
};

}  // namespace maskedkd
