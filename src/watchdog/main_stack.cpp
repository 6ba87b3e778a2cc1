#include "main_stack.hpp"

#include <fmt/format.h>

#include <execinfo.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <string>
#include <thread>

namespace maskedkd {
namespace {

constexpr int kMostFrames = 64;
constexpr int kSignal = SIGURG;

pthread_t main_thread;
std::atomic<bool> printed{false};
static_assert(std::atomic<bool>::is_always_lock_free, "a signal handler writes it");

void print_stack(int /*signal*/) {
  const int error = errno;
  std::array<void*, kMostFrames> frames;
  const int count = backtrace(frames.data(), kMostFrames);
  backtrace_symbols_fd(frames.data() + 1, count - 1, STDERR_FILENO);  // without this function
  printed.store(true, std::memory_order_release);
  errno = error;
}

}  // namespace

void prepare_main_stack() {
  main_thread = pthread_self();
  void* frame = nullptr;
  backtrace(&frame, 1);  // the first call loads a library, which a signal handler must not do
  struct sigaction action {};
  action.sa_handler = print_stack;
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  sigaction(kSignal, &action, nullptr);
}

bool print_main_stack(int rank) {
  const std::string title = fmt::format("[rank {}] the main thread's stack:\n", rank);
  [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, title.data(), title.size());
  printed = false;
  if (pthread_kill(main_thread, kSignal) != 0) {
    return false;
  }
  for (int waited_ms = 0; waited_ms < 1000 && !printed.load(std::memory_order_acquire); waited_ms += 10) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return printed;
}

}  // namespace maskedkd
