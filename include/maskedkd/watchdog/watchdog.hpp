// Ends a job in which a rank hangs, and reports which rank and what it was doing: nothing else would, since the others
// wait for it forever. In each rank a thread looks at the rank's Activity and reports to rank 0 over TCP. MPI can't be
// used: it belongs to the main thread, and may be what hangs. Rank 0 decides (src/watchdog/hang_diagnosis.hpp), and the
// others notice where rank 0 itself is silent. A hang is logged as one error line, followed by the stack of the hung
// rank's main thread if that still responds; then every rank ends with ExitCode::requeue, at once and without MPI.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

namespace maskedkd {

class Communicator;
class MpiSession;

struct WatchdogOptions {
  // Seconds without a beat that make a hang. nullopt: learned, ten times the longest interval between beats, at least
  // 60; five times that for what may be slow (Activity::Pace). 0: nothing is watched.
  std::optional<double> timeout_s;
  // Called once by the thread in place of telling it and ending the process; what was found, empty on other ranks.
  std::function<void(const std::string& told)> on_hang;

  static std::optional<double> parse_timeout(const std::string& text);  // "auto" or seconds; throws Error (usage)
  void validate() const;                                                // throws Error (usage)
};

class Watchdog {
 public:
  // Collective, and by the main thread, whose stack is printed. A rank that can't reach rank 0 says so once, and is
  // watched by its own thread only. The session outlives this. Throws Error.
  Watchdog(const MpiSession& session, WatchdogOptions options);
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;
  ~Watchdog();

  // Not collective. From now on this rank counts as gone, and is not watched any more; waits a part of a second. Only
  // the end of the session is still limited, to the timeout.
  void stop() noexcept;

  // For as long as it lives the thread asks the communicator for errors; one ends the job as a hang does. Before the
  // process ends, the communicator is aborted.
  class Watched {
   public:
    Watched() = default;
    Watched(Watched&&) noexcept;
    Watched& operator=(Watched&&) noexcept;
    ~Watched();

   private:
    friend class Watchdog;
    std::function<void()> forget_;
  };
  [[nodiscard]] Watched watch(Communicator& communicator);

 private:
  class Monitor;
  std::shared_ptr<Monitor> monitor_;  // empty where nothing is watched
};

}  // namespace maskedkd
