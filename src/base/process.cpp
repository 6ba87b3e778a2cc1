#include "maskedkd/base/process.hpp"

#include "maskedkd/base/host_name.hpp"

#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <limits>
#include <sstream>

namespace maskedkd {
namespace {

namespace fs = std::filesystem;

std::string line_of(const std::string& path) {
  std::ifstream file(path);
  std::string text;
  std::getline(file, text);
  return text;
}

std::string link_of(const char* path) {
  std::error_code none;
  return fs::read_symlink(path, none).string();
}

// man 5 proc: behind the program's name, which may hold blanks and brackets, come the state, 16 numbers, the number of
// threads, one more number, and the start time in clock ticks since the machine's start.
struct ProcessStat {
  std::string state, started;
  int threads = 0;
};
ProcessStat stat_in(const std::string& path) {
  const std::string line = line_of(path);
  const std::size_t name_end = line.rfind(')');
  if (name_end == std::string::npos) {
    return {};
  }
  std::istringstream rest(line.substr(name_end + 1));
  ProcessStat stat;
  std::string other;
  rest >> stat.state;
  for (int skipped = 0; skipped < 16; ++skipped) {
    rest >> other;
  }
  rest >> stat.threads >> other >> stat.started;
  return rest ? stat : ProcessStat{};
}

// A container may have another one's or the machine's /proc, where numbers are those of other processes.
bool proc_has_our_numbers() { return link_of("/proc/self") == std::to_string(::getpid()); }

std::string boot_with_namespaces() {
  const std::string boot = line_of("/proc/sys/kernel/random/boot_id"), numbers = link_of("/proc/self/ns/pid");
  return boot.empty() || numbers.empty() ? "" : fmt::format("{} {} {}", boot, numbers, link_of("/proc/self/ns/time"));
}

}  // namespace

ProcessIdentity this_process_identity() {
  return {host_name(), boot_with_namespaces(), ::getpid(), stat_in("/proc/self/stat").started};
}

Liveness liveness_of(const ProcessIdentity& process) {
  if (process.boot.empty() || process.boot != boot_with_namespaces() || process.host != host_name() ||
      process.process <= 0 || process.process > std::numeric_limits<pid_t>::max()) {
    return Liveness::unknown;
  }
  // kill() finds processes of others too, which hidepid keeps out of /proc: it says EPERM then.
  if (::kill(static_cast<pid_t>(process.process), 0) != 0 && errno == ESRCH) {
    return Liveness::dead;
  }
  const ProcessStat stat =
      proc_has_our_numbers() ? stat_in(fmt::format("/proc/{}/stat", process.process)) : ProcessStat{};
  if (stat.started.empty() || process.process_started.empty()) {
    return Liveness::unknown;
  }
  // A process that was killed is a zombie at once, while a thread of it may still be writing.
  const bool has_ended = stat.state == "X" || (stat.state == "Z" && stat.threads <= 1);
  return stat.started != process.process_started || has_ended ? Liveness::dead : Liveness::alive;
}

}  // namespace maskedkd
