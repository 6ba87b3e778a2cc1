// A training whose terminal is closed, or whose log is no longer read.
#include "app/training_run.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <pty.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>

namespace maskedkd::testing {
namespace {

constexpr int kSteps = 48;  // of the whole run

class Hangup : public TrainingRun {
 protected:
  // Runs sh's `command`, whose "$@" is a training, on a terminal that is closed after the first checkpoint. Returns the
  // exit code; 128 + signal if a signal ended it.
  static int on_a_terminal_that_closes(const std::string& command, const std::string& name) {
    Arguments arguments = {"sh", "-c", command, "sh"};
    const Arguments training = alone(name, {"--checkpoint-steps", "1"});
    arguments.insert(arguments.end(), training.begin(), training.end());
    std::vector<char*> texts;
    for (std::string& argument : arguments) {
      texts.push_back(argument.data());
    }
    texts.push_back(nullptr);
    int terminal = -1;
    const pid_t child = forkpty(&terminal, nullptr, nullptr, nullptr);
    if (child == 0) {
      execvp(texts[0], texts.data());
      _exit(127);
    }
    int status = 0;
    bool ended = false;
    while (newest(name).empty() && !(ended = waitpid(child, &status, WNOHANG) == child)) {
      read_what_is_shown(terminal);
    }
    close(terminal);
    if (!ended) {
      EXPECT_EQ(waitpid(child, &status, 0), child);
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }

 private:
  // A full terminal would stop the program.
  static void read_what_is_shown(int terminal) {
    pollfd readable{terminal, POLLIN, 0};
    char buffer[4096];
    if (poll(&readable, 1, /*timeout_ms=*/10) > 0 && read(terminal, buffer, sizeof(buffer)) < 0) {
      usleep(10000);
    }
  }
};

TEST_F(Hangup, AClosedTerminalStopsTheRunWithACheckpoint) {
  EXPECT_EQ(on_a_terminal_that_closes("exec \"$@\"", "hung-up"), 85);
  ASSERT_FALSE(newest("hung-up").empty());
  ASSERT_EQ(train(1, "hung-up").exit_code, 0);
  expect_same_run(undisturbed("plain"), run_folder("hung-up"), kSteps);
}

// nohup passes on an ignored SIGHUP. The log remains on the terminal, so writing to it fails after it is closed.
TEST_F(Hangup, UnderNohupTheRunContinuesAlthoughItsLogIsLost) {
  EXPECT_EQ(on_a_terminal_that_closes("trap '' HUP; exec \"$@\"", "nohup"), 0);
  expect_same_run(undisturbed("plain"), run_folder("nohup"), kSteps);
}

TEST_F(Hangup, AReaderOfTheLogThatEndsDoesNotEndTheRun) {
  Arguments arguments = {"sh", "-c", "{ \"$@\" 2>&1; echo $? >\"$0\"; } | head -n 1", run_folder("code")};
  const Arguments training = alone("piped");
  arguments.insert(arguments.end(), training.begin(), training.end());
  run_process(arguments);
  int code = -1;
  std::ifstream(run_folder("code")) >> code;
  EXPECT_EQ(code, 0);
  expect_same_run(undisturbed("plain"), run_folder("piped"), kSteps);
}

}  // namespace
}  // namespace maskedkd::testing
