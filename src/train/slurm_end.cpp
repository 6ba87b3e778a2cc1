#include "maskedkd/train/slurm_end.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <ctime>
#include <limits>
#include <memory>
#include <sstream>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace maskedkd {
namespace {

using Clock = std::chrono::steady_clock;

// The environment without variables that change squeue's output or select another cluster; dates are UTC.
std::vector<std::string> environment_of_squeue() {
  std::vector<std::string> variables = {"TZ=UTC0", "LC_ALL=C"};
  for (char** variable = environ; *variable != nullptr; ++variable) {
    const std::string_view text = *variable;
    bool is_left_out = false;
    for (const char* begin :
         {"SQUEUE_", "SLURM_TIME_FORMAT=", "SLURM_CLUSTERS=", "SLURM_BITSTR_LEN=", "TZ=", "LC_ALL="}) {
      is_left_out |= text.starts_with(begin);
    }
    if (!is_left_out) {
      variables.emplace_back(text);
    }
  }
  return variables;
}

std::vector<char*> pointers_to(std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  for (std::string& text : texts) {
    pointers.push_back(text.data());
  }
  pointers.push_back(nullptr);
  return pointers;
}

// Returns the process id; -1 where squeue can't be started.
pid_t start_squeue(const std::string& job_id, std::vector<std::string> variables, int output) {
  // %A is the job's own number: for a job array squeue lists the other jobs as well.
  std::vector<std::string> words = {"squeue", "--noheader", "--jobs=" + job_id, "--format=%A %e"};
  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&files, output, STDOUT_FILENO);
  posix_spawn_file_actions_addopen(&files, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
  posix_spawn_file_actions_addclosefrom_np(&files, STDERR_FILENO + 1);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t none;
  sigemptyset(&none);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
  pid_t process = -1;
  if (posix_spawnp(&process, "squeue", &files, &attributes, pointers_to(words).data(), pointers_to(variables).data()) !=
      0) {
    process = -1;
  }
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&files);
  return process;
}

std::string read_until(Clock::time_point end, int descriptor) {
  std::string text;
  std::array<char, 4096> part{};
  while (true) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - Clock::now());
    pollfd readable{descriptor, POLLIN, 0};
    const int ready = poll(&readable, 1, static_cast<int>(std::max<std::int64_t>(left.count(), 0)));
    if (ready < 0 && errno == EINTR) {
      continue;
    }
    const ssize_t count = ready > 0 ? read(descriptor, part.data(), part.size()) : 0;
    if (count <= 0) {
      return text;
    }
    text.append(part.data(), static_cast<std::size_t>(count));
  }
}

std::string output_of_squeue(const std::string& job_id, std::vector<std::string> variables,
                             std::chrono::seconds timeout) {
  const auto end = Clock::now() + timeout;
  std::array<int, 2> pipe{-1, -1};
  if (pipe2(pipe.data(), O_CLOEXEC) != 0) {
    return "";
  }
  const pid_t squeue = start_squeue(job_id, std::move(variables), pipe[1]);
  close(pipe[1]);
  const std::string output = squeue > 0 ? read_until(end, pipe[0]) : "";
  close(pipe[0]);
  if (squeue > 0) {
    kill(squeue, SIGKILL);
    waitpid(squeue, nullptr, 0);
  }
  return output;
}

std::optional<double> time_of(const std::string& date) {
  if (date == "NONE") {
    return std::numeric_limits<double>::infinity();
  }
  tm time{};
  char rest = 0;
  if (std::sscanf(date.c_str(), "%d-%d-%dT%d:%d:%d%c", &time.tm_year, &time.tm_mon, &time.tm_mday, &time.tm_hour,
                  &time.tm_min, &time.tm_sec, &rest) != 6) {
    return std::nullopt;
  }
  time.tm_year -= 1900;
  time.tm_mon -= 1;
  return static_cast<double>(timegm(&time));
}

std::optional<double> end_of(const std::string& job_id, const std::string& output) {
  std::istringstream words(output);
  std::string job, date;
  while (words >> job >> date) {
    if (job == job_id) {
      return time_of(date);
    }
  }
  return std::nullopt;
}

}  // namespace

std::future<std::optional<double>> ask_slurm_for_end(const std::string& job_id, std::chrono::seconds timeout) {
  const auto answer = std::make_shared<std::promise<std::optional<double>>>();
  std::future<std::optional<double>> future = answer->get_future();
  sigset_t all, before;  // the new thread handles no signals
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  try {
    std::thread([answer, job_id, variables = environment_of_squeue(), timeout]() mutable {
      answer->set_value(end_of(job_id, output_of_squeue(job_id, std::move(variables), timeout)));
    }).detach();
  } catch (const std::system_error&) {  // no more threads can be started: treated like no answer
    answer->set_value(std::nullopt);
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return future;
}

}  // namespace maskedkd
