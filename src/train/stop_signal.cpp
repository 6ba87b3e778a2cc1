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
  for (const int number : {SIGTERM, SIGUSR1, SIGUSR2, SIGXCPU}) {
    sigaction(number, &action, nullptr);
  }
  for (const int number : {SIGHUP, SIGINT}) {
    struct sigaction before {};
    sigaction(number, nullptr, &before);
    if (before.sa_handler != SIG_IGN) {  // nohup ignores SIGHUP, and a shell ignores SIGINT for background jobs
      action.sa_flags = SA_RESTART | (number == SIGINT ? static_cast<int>(SA_RESETHAND) : 0);
      sigaction(number, &action, nullptr);
    }
  }
  struct sigaction ignored {};
  ignored.sa_handler = SIG_IGN;
  sigaction(SIGPIPE, &ignored, nullptr);
}

bool stop_requested() noexcept { return requested.load(std::memory_order_relaxed); }

}  // namespace maskedkd
