#include "maskedkd/base/lost_mapping.hpp"

#include "maskedkd/base/error.hpp"

#include <unistd.h>

#include <csignal>

namespace maskedkd {
namespace {

// Does only what a signal handler may do: prints a fixed line and ends the process.
extern "C" void on_lost_mapping(int /*signal*/) {
  constexpr char kLine[] =
      "error a file that is in use was truncated or its disk failed (SIGBUS; or /dev/shm is full); copy the weights or "
      "the "
      "checkpoint again, check the disk, then start again\n";
  [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, kLine, sizeof(kLine) - 1);
  ::_exit(static_cast<int>(ExitCode::failure));
}

}  // namespace

void report_lost_mapping() noexcept {
  struct sigaction action {};
  action.sa_handler = on_lost_mapping;
  sigemptyset(&action.sa_mask);
  ::sigaction(SIGBUS, &action, nullptr);
}

}  // namespace maskedkd
