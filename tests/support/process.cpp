#include "support/process.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <thread>

namespace maskedkd::testing {
namespace {

double now_s() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

}  // namespace

BackgroundProcess::BackgroundProcess(const std::vector<std::string>& argv) : started_s_(now_s()) {
  // Output goes to an unlinked file, as a full pipe would stop the child.
  std::string name = "/tmp/maskedkd-output-XXXXXX";
  output_ = mkostemp(name.data(), O_CLOEXEC);
  if (output_ < 0) {
    throw std::runtime_error("no temporary file for a child's output");
  }
  unlink(name.c_str());
  std::vector<char*> arguments;
  for (const std::string& argument : argv) {
    arguments.push_back(const_cast<char*>(argument.c_str()));
  }
  arguments.push_back(nullptr);
  pid_ = fork();
  if (pid_ == 0) {
    setpgid(0, 0);
    ::signal(SIGINT, SIG_DFL);  // shells ignore it for background processes
    dup2(output_, STDOUT_FILENO);
    dup2(output_, STDERR_FILENO);
    const int null = open("/dev/null", O_RDONLY);
    dup2(null, STDIN_FILENO);
    execvp(arguments[0], arguments.data());
    perror(arguments[0]);
    _exit(127);
  }
  if (pid_ < 0) {
    throw std::runtime_error("fork failed");
  }
  setpgid(pid_, pid_);
}

BackgroundProcess::~BackgroundProcess() {
  if (running()) {
    signal_group(SIGKILL);
    waitpid(pid_, &status_, 0);
  }
  close(output_);
}

void BackgroundProcess::signal(int number) const { kill(pid_, number); }
void BackgroundProcess::signal_group(int number) const { kill(-pid_, number); }

bool BackgroundProcess::running() {
  if (!ended_ && waitpid(pid_, &status_, WNOHANG) == pid_) {
    ended_ = true;
  }
  return !ended_;
}

ProcessResult BackgroundProcess::wait(double timeout_s) {
  const double deadline_s = now_s() + timeout_s;
  while (running()) {
    if (now_s() > deadline_s) {
      signal_group(SIGKILL);
      waitpid(pid_, &status_, 0);
      ended_ = true;
      break;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  ProcessResult result;
  result.seconds = now_s() - started_s_;
  result.exit_code = WIFSIGNALED(status_) ? 128 + WTERMSIG(status_) : WEXITSTATUS(status_);
  std::array<char, 4096> buffer{};
  off_t offset = 0;
  for (ssize_t count; (count = pread(output_, buffer.data(), buffer.size(), offset)) > 0; offset += count) {
    result.output.append(buffer.data(), static_cast<std::size_t>(count));
  }
  return result;
}

ProcessResult run_process(const std::vector<std::string>& argv, double timeout_s) {
  BackgroundProcess process(argv);
  return process.wait(timeout_s);
}

}  // namespace maskedkd::testing
