// Distinguishes dead processes from invisible ones, by what the kernel reports about processes made for these tests.
#include "maskedkd/base/process.hpp"

#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <limits>
#include <string>

namespace maskedkd {
namespace {

// Runs `work` in a fork and returns its result, or -1 on failure.
int in_a_fork(const std::function<int()>& work) {
  const pid_t child = fork();
  if (child == 0) {
    _exit(work());
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

constexpr int kCanNot = 77;

// A child process that sends its identity, then waits.
struct Child {
  ProcessIdentity identity;
  pid_t pid = -1;  // in this process's namespace

  explicit Child(bool in_own_namespace = false) {
    int pipe_ends[2];
    EXPECT_EQ(pipe(pipe_ends), 0);
    pid = fork();
    if (pid == 0) {
      if (in_own_namespace) {
        if (unshare(CLONE_NEWPID) != 0) {
          _exit(kCanNot);
        }
        const pid_t inner = fork();  // the first process of the namespace
        if (inner != 0) {
          int status = 0;
          waitpid(inner, &status, 0);
          _exit(0);
        }
        mount("proc", "/proc", "proc", 0, nullptr);
      }
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      const ProcessIdentity me = this_process_identity();
      const std::string text = me.host + "\n" + me.boot + "\n" + std::to_string(me.process) + "\n" + me.process_started;
      if (write(pipe_ends[1], text.data(), text.size()) < 0) {
        _exit(1);
      }
      close(pipe_ends[1]);
      pause();
    }
    close(pipe_ends[1]);
    std::string text(4096, '\0');
    const ssize_t length = read(pipe_ends[0], text.data(), text.size());
    close(pipe_ends[0]);
    text.resize(static_cast<std::size_t>(std::max<ssize_t>(length, 0)));
    const std::size_t a = text.find('\n'), b = text.find('\n', a + 1), c = text.find('\n', b + 1);
    if (c != std::string::npos) {
      identity = {text.substr(0, a), text.substr(a + 1, b - a - 1), std::stoll(text.substr(b + 1, c - b - 1)),
                  text.substr(c + 1)};
    }
  }
  ~Child() {
    kill(pid, SIGKILL);
    waitpid(pid, nullptr, 0);
  }
};

TEST(Process, RunningAndStoppedProcessesAreAlive) {
  EXPECT_EQ(liveness_of(this_process_identity()), Liveness::alive);
  const Child child;
  EXPECT_EQ(child.identity.process, child.pid);
  EXPECT_EQ(liveness_of(child.identity), Liveness::alive);
  kill(child.pid, SIGSTOP);
  EXPECT_EQ(liveness_of(child.identity), Liveness::alive) << "stopped is not dead";
}

TEST(Process, AKilledProcessIsDeadBeforeItsParentCollectsIt) {
  const Child child;
  kill(child.pid, SIGKILL);
  siginfo_t ended{};
  ASSERT_EQ(waitid(P_PID, static_cast<id_t>(child.pid), &ended, WEXITED | WNOWAIT), 0);
  EXPECT_EQ(liveness_of(child.identity), Liveness::dead) << "not yet collected";
  waitpid(child.pid, nullptr, 0);
  EXPECT_EQ(liveness_of(child.identity), Liveness::dead);
}

TEST(Process, AReusedNumberIsAnotherProcess) {
  ProcessIdentity before = this_process_identity();
  before.process_started = "1";
  EXPECT_EQ(liveness_of(before), Liveness::dead);
}

TEST(Process, ProcessesThatCanNotBeIdentifiedAreUnknown) {
  const ProcessIdentity me = this_process_identity();
  const auto changed = [&](const std::function<void(ProcessIdentity&)>& change) {
    ProcessIdentity other = me;
    other.process = std::numeric_limits<pid_t>::max();  // no such process here
    change(other);
    return liveness_of(other);
  };
  EXPECT_EQ(changed([](ProcessIdentity&) {}), Liveness::dead);
  EXPECT_EQ(changed([](ProcessIdentity& other) { other.host = "host7"; }), Liveness::unknown);
  EXPECT_EQ(changed([](ProcessIdentity& other) { other.boot = "another start"; }), Liveness::unknown);
  EXPECT_EQ(changed([](ProcessIdentity& other) { other.boot = ""; }), Liveness::unknown);
  EXPECT_EQ(changed([](ProcessIdentity& other) { other.process = 0; }), Liveness::unknown);
  EXPECT_EQ(changed([](ProcessIdentity& other) { other.process = -1; }), Liveness::unknown);
  EXPECT_EQ(changed([](ProcessIdentity& other) { other.process = std::int64_t{1} << 40; }), Liveness::unknown);
  ProcessIdentity without_start = me;
  without_start.process_started = "";
  EXPECT_EQ(liveness_of(without_start), Liveness::unknown);
}

// Two containers of one machine have the same name, and each has a process of the same number.
TEST(Process, EqualNumbersOfTwoNamespacesAreTwoProcesses) {
  if (in_a_fork([] { return unshare(CLONE_NEWPID) == 0 ? 0 : kCanNot; }) != 0) {
    GTEST_SKIP() << "no namespaces here";
  }
  const int answer = in_a_fork([] {
    if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) {
      return kCanNot;
    }
    const Child one(/*in_own_namespace=*/true), other(/*in_own_namespace=*/true);
    if (one.identity.process != 1 || other.identity.process != 1 || one.identity.boot == other.identity.boot) {
      return 1;
    }
    return liveness_of(one.identity) == Liveness::unknown && liveness_of(other.identity) == Liveness::unknown ? 0 : 2;
  });
  EXPECT_EQ(answer, 0);
}

TEST(Process, AProcessHiddenByProcIsNotDead) {
  const int answer = in_a_fork([] {
    if (geteuid() != 0 || unshare(CLONE_NEWNS) != 0 || mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        mount("proc", "/proc", "proc", MS_REMOUNT, "hidepid=2") != 0) {
      return kCanNot;
    }
    const Child root;  // a living process of another user
    return in_a_fork([&] {
      if (setgid(60000) != 0 || setuid(60001) != 0) {
        return kCanNot;
      }
      const std::string stat = "/proc/" + std::to_string(root.pid) + "/stat";
      if (access(stat.c_str(), F_OK) == 0) {
        return 3;  // not hidden, so the test would show nothing
      }
      return liveness_of(root.identity) == Liveness::unknown && liveness_of(this_process_identity()) == Liveness::alive
                 ? 0
                 : 1;
    });
  });
  if (answer == kCanNot) {
    GTEST_SKIP() << "only root can hide processes";
  }
  EXPECT_EQ(answer, 0);
}

// If a container mounts the machine's /proc, the numbers in it are those of other processes.
TEST(Process, TheProcOfAnotherNamespaceIsNotUsed) {
  const int answer = in_a_fork([] {
    if (unshare(CLONE_NEWPID) != 0) {
      return kCanNot;
    }
    return in_a_fork([] {
      const pid_t child = fork();
      if (child == 0) {
        pause();
      }
      ProcessIdentity alive = this_process_identity();
      alive.process = child;
      const bool right = liveness_of(alive) == Liveness::unknown;
      kill(child, SIGKILL);
      waitpid(child, nullptr, 0);
      return right && liveness_of(alive) == Liveness::dead ? 0 : 1;
    });
  });
  if (answer == kCanNot) {
    GTEST_SKIP() << "no namespaces here";
  }
  EXPECT_EQ(answer, 0);
}

}  // namespace
}  // namespace maskedkd
