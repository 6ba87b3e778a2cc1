#include "maskedkd/train/stop_signal.hpp"

#include <signal.h>

#include <atomic>

namespace maskedkd {
namespace {

std::atomic<bool> requested{false};
static_assert(std::atomic<bool>::is_always_lock_free, "a signal handler writes it");

}  // namespace

void watch_stop_signals() {
  struct sigaction action {};
  action.sa_handler = [](int) { requested.store(true, std::memory_order_relaxed); };
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  sigaction(SIGTERM, &action, nullptr);
  sigaction(SIGUSR1, &action, nullptr);
  struct sigaction before {};
  sigaction(SIGINT, nullptr, &before);
  if (before.sa_handler != SIG_IGN) {  // as a shell has it for what it runs in the background
    action.sa_flags |= SA_RESETHAND;
    sigaction(SIGINT, &action, nullptr);
  }
}

bool stop_requested() noexcept { return requested.load(std::memory_order_relaxed); }

}  // namespace maskedkd
