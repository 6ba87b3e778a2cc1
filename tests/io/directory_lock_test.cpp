// Only one process at a time holds the lock, for as long as it lives.
#include "maskedkd/base/error.hpp"
#include "maskedkd/io/posix.hpp"
#include "support/temporary_directory.hpp"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <memory>

namespace maskedkd {
namespace {

using testing::TemporaryDirectory;

// The error of locking; "" if the lock is free.
std::string refusal(const std::filesystem::path& directory) {
  try {
    const DirectoryLock lock(directory, "the second");
    return "";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::usage);
    return error.what();
  }
}

// Another process that holds the lock until it is ended or let_go() is called.
class Holder {
 public:
  explicit Holder(const std::filesystem::path& directory) {
    EXPECT_EQ(pipe(ready_), 0);
    EXPECT_EQ(pipe(go_), 0);
    pid_ = fork();
    if (pid_ == 0) {
      close(go_[1]);
      char byte = 0;
      {
        const DirectoryLock lock(directory, "maskedkd_train on host7, process 4711");
        if (write(ready_[1], "x", 1) != 1 || read(go_[0], &byte, 1) != 1) {
          _exit(1);
        }
      }
      if (write(ready_[1], "y", 1) != 1) {
        _exit(1);
      }
      pause();
    }
    wait_for('x');
  }
  void let_go() {
    EXPECT_EQ(write(go_[1], "g", 1), 1);
    wait_for('y');
  }
  void end(int signal) {
    kill(pid_, signal);
    waitpid(pid_, nullptr, 0);
    pid_ = -1;
  }
  ~Holder() {
    if (pid_ > 0) {
      end(SIGKILL);
    }
    for (const int descriptor : {ready_[0], ready_[1], go_[0], go_[1]}) {
      close(descriptor);
    }
  }

 private:
  void wait_for(char expected) {
    char byte = 0;
    EXPECT_EQ(read(ready_[0], &byte, 1), 1);
    EXPECT_EQ(byte, expected);
  }
  int ready_[2];
  int go_[2];
  pid_t pid_ = -1;
};

TEST(DirectoryLock, ASecondProcessIsRefusedWithTheNameOfTheHolder) {
  const TemporaryDirectory directory;
  Holder holder(directory.path());
  for (int attempt = 0; attempt < 3; ++attempt) {
    const std::string why = refusal(directory.path());
    EXPECT_EQ(why, directory.path().string() + " is in use by maskedkd_train on host7, process 4711");
  }
  holder.let_go();
  EXPECT_EQ(refusal(directory.path()), "");
}

TEST(DirectoryLock, IsFreeWhenItsHolderDies) {
  const TemporaryDirectory directory;
  for (const int signal : {SIGKILL, SIGTERM, SIGABRT}) {
    Holder holder(directory.path());
    EXPECT_NE(refusal(directory.path()), "");
    holder.end(signal);
    EXPECT_EQ(refusal(directory.path()), "");
  }
}

TEST(DirectoryLock, HoldsWithinOneProcessToo) {
  const TemporaryDirectory directory, other;
  auto lock = std::make_unique<DirectoryLock>(directory.path(), "a name that is longer than the next holder's");
  EXPECT_NE(refusal(directory.path()), "");
  EXPECT_EQ(refusal(other.path()), "");
  auto moved = std::make_unique<DirectoryLock>(std::move(*lock));
  lock.reset();
  EXPECT_NE(refusal(directory.path()), "");
  moved.reset();
  lock = std::make_unique<DirectoryLock>(directory.path(), "short");
  EXPECT_EQ(refusal(directory.path()), directory.path().string() + " is in use by short");
}

TEST(DirectoryLock, NeedsTheDirectory) {
  const TemporaryDirectory directory;
  EXPECT_THROW(DirectoryLock(directory.path() / "none", "x"), Error);
}

}  // namespace
}  // namespace maskedkd
