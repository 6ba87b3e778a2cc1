// A directory is there whole or not at all, whatever ends its writer.
#include "maskedkd/io/atomic_directory.hpp"

#include "maskedkd/base/error.hpp"
#include "maskedkd/io/posix.hpp"
#include "maskedkd/io/unfinished.hpp"
#include "support/temporary_directory.hpp"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <random>
#include <set>

namespace maskedkd {
namespace {

using testing::TemporaryDirectory;
namespace fs = std::filesystem;

void put(const fs::path& path, const std::string& content) { std::ofstream(path) << content; }

std::set<std::string> names_in(const fs::path& directory) {
  std::set<std::string> names;
  for (const auto& entry : fs::directory_iterator(directory)) {
    names.insert(entry.path().filename().string());
  }
  return names;
}

TEST(AtomicDirectory, IsThereOnlyAfterCommit) {
  const TemporaryDirectory root;
  const fs::path path = root.path() / "step-1";
  {
    AtomicDirectory directory(path);
    EXPECT_EQ(directory.path().parent_path(), root.path());  // the same file system
    EXPECT_EQ(directory.path().filename().string().rfind(".tmp-step-1-", 0), 0u);
    put(directory.path() / "a", "1");
    fs::create_directory(directory.path() / "inner");
    put(directory.path() / "inner" / "b", "2");
    EXPECT_FALSE(fs::exists(path));
    directory.commit();
    EXPECT_EQ(read_text_file(path / "a"), "1");
  }
  EXPECT_EQ(read_text_file(path / "inner" / "b"), "2");
  EXPECT_EQ(names_in(root.path()), std::set<std::string>{"step-1"});
}

// As mkdir(2) and open(2) have it. A folder that a group shares has mode 2775, and so has what is made in it.
TEST(AtomicDirectory, TheUmaskAndTheParentDecideThePermissions) {
  const TemporaryDirectory root;
  ASSERT_EQ(chmod(root.path().c_str(), 02775), 0);
  const auto mode_of = [](const fs::path& path) {
    struct stat status {};
    EXPECT_EQ(stat(path.c_str(), &status), 0) << path;
    return status.st_mode & 07777;
  };
  const mode_t before = umask(0);
  for (const mode_t mask : {0U, 002U, 022U, 027U, 077U}) {
    umask(mask);
    const fs::path path = root.path() / std::to_string(mask);
    AtomicDirectory directory(path);
    write_file_atomically(directory.path() / "file", "x");
    create_writable_directory(directory.path() / "inner");
    directory.commit();
    EXPECT_EQ(mode_of(path), 02777 & ~mask);
    EXPECT_EQ(mode_of(path / "inner"), 02777 & ~mask);
    EXPECT_EQ(mode_of(path / "file"), 0666 & ~mask);
  }
  umask(before);
}

TEST(AtomicDirectory, IsGoneOnException) {
  const TemporaryDirectory root;
  try {
    AtomicDirectory directory(root.path() / "a");
    put(directory.path() / "x", "1");
    throw Error("in the middle");
  } catch (const Error&) {
  }
  EXPECT_TRUE(names_in(root.path()).empty());
}

TEST(AtomicDirectory, WhatIsThereAlreadyStays) {
  const TemporaryDirectory root;
  fs::create_directory(root.path() / "empty");
  fs::create_directory(root.path() / "full");
  put(root.path() / "full" / "old", "old");
  put(root.path() / "file", "old");
  for (const char* name : {"empty", "full", "file"}) {
    AtomicDirectory directory(root.path() / name);
    put(directory.path() / "new", "new");
    EXPECT_THROW(directory.commit(), Error) << name;
  }
  EXPECT_EQ(names_in(root.path()), (std::set<std::string>{"empty", "full", "file"}));
  EXPECT_TRUE(fs::is_empty(root.path() / "empty"));
  EXPECT_EQ(read_text_file(root.path() / "full" / "old"), "old");
}

TEST(AtomicDirectory, PathsAsPeopleGiveThem) {
  const TemporaryDirectory root;
  const fs::path before = fs::current_path();
  fs::current_path(root.path());
  for (const char* given : {"relative", "./dotted", "slash/"}) {
    AtomicDirectory directory{fs::path(given)};
    put(directory.path() / "x", "1");
    EXPECT_NO_THROW(directory.commit()) << given;
  }
  fs::current_path(before);
  EXPECT_EQ(names_in(root.path()), (std::set<std::string>{"relative", "dotted", "slash"}));
}

TEST(AtomicDirectory, FailuresAreErrors) {
  const TemporaryDirectory root;
  EXPECT_THROW(AtomicDirectory(root.path() / "no parent" / "a"), Error);
  AtomicDirectory directory(root.path() / "a");
  fs::remove_all(directory.path());
  EXPECT_THROW(directory.commit(), Error);
  EXPECT_FALSE(fs::exists(root.path() / "a"));
}

TEST(AtomicDirectory, AKilledWriterLeavesOnlyWhatIsSwept) {
  const TemporaryDirectory root;
  std::mt19937 random(6);
  int unfinished = 0;
  for (int round = 0; round < 25; ++round) {
    const fs::path path = root.path() / std::to_string(round);
    const pid_t child = fork();
    if (child == 0) {
      AtomicDirectory directory(path);
      for (int file = 0; file < 5; ++file) {
        put(directory.path() / std::to_string(file), std::string(20000, 'x'));
      }
      directory.commit();
      pause();
    }
    usleep(static_cast<useconds_t>(random() % 15000));
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
    if (fs::exists(path)) {
      ASSERT_EQ(names_in(path).size(), 5u);
      for (int file = 0; file < 5; ++file) {
        ASSERT_EQ(fs::file_size(path / std::to_string(file)), 20000u);
      }
    } else {
      ++unfinished;
    }
  }
  EXPECT_GT(unfinished, 0);
  put(root.path() / ".tmp-file", "x");
  put(root.path() / ".lock", "x");
  fs::create_directory(root.path() / "mine");
  fs::create_directory_symlink(root.path() / "mine", root.path() / ".tmp-link");
  put(root.path() / "mine" / "x", "x");
  sweep_unfinished(root.path());
  int left = 0;
  for (const std::string& name : names_in(root.path())) {
    EXPECT_NE(name.rfind(".tmp-", 0), 0u) << name;
    ++left;
  }
  EXPECT_EQ(left, 25 - unfinished + 2);
  EXPECT_TRUE(fs::exists(root.path() / "mine" / "x"));  // not through the link
  sweep_unfinished(root.path() / "none");
}

}  // namespace
}  // namespace maskedkd
