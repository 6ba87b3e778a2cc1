#include "maskedkd/base/running_clock.hpp"

#include <signal.h>

#include <algorithm>
#include <ctime>
#include <mutex>
#include <system_error>
#include <thread>

namespace maskedkd {
namespace {

using Steady = std::chrono::steady_clock;

constexpr auto kTick = std::chrono::milliseconds(250);
// The most that counts of the time since the last look, until the next look finds out whether the process was stopped.
constexpr Steady::duration kMostUnexplained = 2 * kTick;

struct State {
  std::mutex mutex;
  bool started = false;
  Steady::time_point last_look{};
  Steady::duration stopped{};
};

State& state() {
  static State& forever = *new State;  // the thread outlives main
  return forever;
}

// Whether SIGCONT comes within that time, or has come.
bool take_continue(std::chrono::nanoseconds timeout) {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGCONT);
  const timespec time{0, timeout.count()};
  return sigtimedwait(&signals, nullptr, &time) == SIGCONT;
}

void watch_for_stops() {
  while (true) {
    bool continued = take_continue(kTick);
    // Wherever this thread was stopped: the time shows here, and a SIGCONT is pending by now.
    const Steady::time_point now = Steady::now();
    const std::lock_guard lock(state().mutex);
    const Steady::duration passed = now - state().last_look;
    continued |= passed > kMostUnexplained && take_continue({});
    if (continued && passed > kMostUnexplained) {
      state().stopped += passed - kMostUnexplained;
    }
    state().last_look = now;
  }
}

}  // namespace

RunningClock::time_point RunningClock::now() noexcept {
  const std::lock_guard lock(state().mutex);
  const Steady::time_point now = Steady::now();
  const Steady::time_point counted = state().started ? std::min(now, state().last_look + kMostUnexplained) : now;
  return time_point(counted.time_since_epoch() - state().stopped);
}

RunningClock::duration RunningClock::stopped() noexcept {
  const std::lock_guard lock(state().mutex);
  return state().stopped;
}

void RunningClock::start() {
  sigset_t signals;
  sigfillset(&signals);  // for the thread, which begins with this one's
  sigset_t before;
  pthread_sigmask(SIG_SETMASK, &signals, &before);
  {
    const std::lock_guard lock(state().mutex);
    state().started = true;
    state().last_look = Steady::now();
  }
  try {
    std::thread(watch_for_stops).detach();
  } catch (const std::system_error&) {  // no more threads: then all time counts
    const std::lock_guard lock(state().mutex);
    state().started = false;
  }
  sigaddset(&before, SIGCONT);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

}  // namespace maskedkd
