// Ends a job in which a rank hangs, and reports which rank and what it was doing: nothing else would, since the others
// wait for it forever. In each rank a thread observes the rank's Activity and reports to rank 0 over TCP. MPI can't be
// used: it belongs to the main thread, and may be what hangs. Rank 0 decides (src/watchdog/hang_diagnosis.hpp), and the
// others notice when rank 0 itself is silent. A hang is logged as one error line, followed by the stack of the hung
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
  // Seconds without a beat that count as a hang. nullopt: learned, ten times the longest interval between beats, at
  // least 60; five times that in slow phases (Activity::Pace). 0: no watchdog.
  std::optional<double> timeout_s;
  // Called once instead of logging the hang and ending the process. description: empty where another rank would log it.
  std::function<void(const std::string& description)> on_hang;

  static std::optional<double> parse_timeout(const std::string& text);  // "auto" or seconds; throws Error (usage)
  void validate() const;                                                // throws Error (usage)
};

class Watchdog {
 public:
  // Collective; called by the main thread, whose stack is printed. A rank that can't reach rank 0 logs this once, and
  // is watched by its own thread only. The session outlives this. Throws Error.
  Watchdog(const MpiSession& session, WatchdogOptions options);
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;
  ~Watchdog();

  // Not collective. This rank is not watched any more; only the end of the session is still limited, to the timeout.
  void stop() noexcept;

  // While this exists, errors of the communicator end the job as a hang does, and the end of the process aborts it.
  class Watched {
   public:
    Watched() = default;
    Watched(Watched&&) noexcept;
    Watched& operator=(Watched&&) noexcept;
    ~Watched();

   private:
    friend class Watchdog;
    std::function<void()> stop_watching_;
  };
  [[nodiscard]] Watched watch(Communicator& communicator);

 private:
  class Monitor;
  std::shared_ptr<Monitor> monitor_;  // empty: no watchdog
};

}  // namespace maskedkd
