// A process that is stopped for a while and continued, as by scontrol suspend.
#pragma once

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>

namespace maskedkd::testing {

// Runs `work` in a child process, and meanwhile `disturb` in this one, with the child's process number. Returns whether
// `work` returned true.
inline bool in_child(const std::function<bool()>& work, const std::function<void(pid_t child)>& disturb) {
  const pid_t child = fork();
  if (child == 0) {
    _exit(work() ? 0 : 1);
  }
  disturb(child);
  int status = 0;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

inline void stop_for(pid_t process, unsigned milliseconds) {
  kill(process, SIGSTOP);
  usleep(milliseconds * 1000);
  kill(process, SIGCONT);
}

}  // namespace maskedkd::testing
