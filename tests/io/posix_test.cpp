// Files are read completely, written completely or not at all, and errors give the reason.
#include "maskedkd/io/posix.hpp"

#include "maskedkd/base/error.hpp"
#include "maskedkd/io/unfinished.hpp"
#include "support/error_of.hpp"
#include "support/temporary_directory.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <functional>
#include <numeric>
#include <random>
#include <set>
#include <vector>

namespace maskedkd {
namespace {

using testing::error_of;
using testing::TemporaryDirectory;

std::set<std::string> names_in(const std::filesystem::path& directory) {
  std::set<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    names.insert(entry.path().filename().string());
  }
  return names;
}

TEST(ReadExactly, ReadsRangesInTheFileAndRefusesOthers) {
  const TemporaryDirectory directory;
  const auto path = directory.path() / "bytes";
  std::vector<std::uint8_t> content(100);
  std::iota(content.begin(), content.end(), std::uint8_t{50});
  write_all(create_file(path), content, path);
  const FileDescriptor file = open_for_reading(path);
  EXPECT_EQ(file_size_bytes(file, path), 100u);
  for (std::uint64_t begin = 0; begin <= 100; ++begin) {
    for (std::uint64_t end = begin; end <= 100; ++end) {
      std::vector<std::uint8_t> bytes(end - begin);
      read_exactly(file, begin, bytes, path);
      ASSERT_TRUE(std::equal(bytes.begin(), bytes.end(), content.begin() + static_cast<std::ptrdiff_t>(begin)));
    }
  }
  std::vector<std::uint8_t> bytes(20);
  EXPECT_EQ(error_of([&] { read_exactly(file, 90, bytes, path); }),
            path.string() + " ends at byte 100, 10 bytes too early");
  EXPECT_NE(error_of([&] { read_exactly(file, 1000, bytes, path); }).find("20 bytes too early"), std::string::npos);
  for (const std::uint64_t offset : {std::uint64_t{1} << 63, ~std::uint64_t{0}, (std::uint64_t{1} << 63) - 10}) {
    EXPECT_NE(error_of([&] { read_exactly(file, offset, bytes, path); }).find(path.string()), std::string::npos);
  }
}

TEST(OpenForReading, OpensOnlyFilesAndNeverWaits) {
  const TemporaryDirectory directory;
  EXPECT_NE(error_of([&] { open_for_reading(directory.path() / "none"); }).find("No such file"), std::string::npos);
  EXPECT_NE(error_of([&] { open_for_reading(directory.path()); }).find("is not a file"), std::string::npos);
  EXPECT_NE(error_of([] { open_for_reading("/dev/zero"); }).find("is not a file"), std::string::npos);
  const auto pipe = directory.path() / "pipe";
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  alarm(20);  // ends the test if it waits for a writer
  EXPECT_NE(error_of([&] { open_for_reading(pipe); }).find("is not a file"), std::string::npos);
  alarm(0);
}

bool is_open(int descriptor) { return fcntl(descriptor, F_GETFD) >= 0; }

TEST(FileDescriptor, ClosesOnceAndMoves) {
  const TemporaryDirectory directory;
  const auto path = directory.path() / "a";
  int number = -1;
  {
    FileDescriptor file = create_file(path);
    number = file.get();
    FileDescriptor other = std::move(file);
    EXPECT_EQ(other.get(), number);
    FileDescriptor third;
    third = std::move(other);
    EXPECT_EQ(third.get(), number);
    EXPECT_TRUE(is_open(number));
  }
  EXPECT_FALSE(is_open(number));
}

TEST(WriteFileAtomically, WritesReplacesAndLeavesNothingElse) {
  const TemporaryDirectory directory;
  const auto path = directory.path() / "log.txt";
  const std::string binary("\0\xff\n x", 5);
  for (const std::string& content : {std::string("first"), std::string(), binary, std::string(3 << 20, 'x')}) {
    write_file_atomically(path, content);
    EXPECT_EQ(read_text_file(path), content);
    EXPECT_EQ(names_in(directory.path()), std::set<std::string>{"log.txt"});
  }
  const auto before = std::filesystem::current_path();
  std::filesystem::current_path(directory.path());
  write_file_atomically("relative", "here");
  std::filesystem::current_path(before);
  EXPECT_EQ(read_text_file(directory.path() / "relative"), "here");
}

// A limit on file sizes stands for a disk that becomes full.
TEST(WriteFileAtomically, AFailureLeavesTheOldOneAndNothingElse) {
  const TemporaryDirectory directory;
  const auto path = directory.path() / "log.txt";
  write_file_atomically(path, "old");
  const pid_t child = fork();
  if (child == 0) {
    signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{1000, 1000};
    setrlimit(RLIMIT_FSIZE, &limit);
    try {
      write_file_atomically(path, std::string(100000, 'n'));
      _exit(1);
    } catch (const Error& error) {
      _exit(std::string(error.what()).find("File too large") != std::string::npos ? 0 : 2);
    }
  }
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(read_text_file(path), "old");
  EXPECT_EQ(names_in(directory.path()), std::set<std::string>{"log.txt"});
  EXPECT_NE(error_of([&] { write_file_atomically(path / "below", "x"); }).find("Not a directory"), std::string::npos);
  std::filesystem::create_directory(directory.path() / "folder");
  std::ofstream(directory.path() / "folder" / "inside") << "x";
  error_of([&] { write_file_atomically(directory.path() / "folder", "x"); });
  EXPECT_EQ(names_in(directory.path()), (std::set<std::string>{"folder", "log.txt"}));
}

TEST(WriteFileAtomically, ReadersAndKillsSeeTheOldOrTheNew) {
  const TemporaryDirectory directory;
  const auto path = directory.path() / "log.txt";
  const std::string a(200000, 'a'), b(90000, 'b');
  write_file_atomically(path, a);
  std::mt19937 random(5);
  for (int kills = 0; kills < 20; ++kills) {
    const pid_t child = fork();
    if (child == 0) {
      for (;;) {
        write_file_atomically(path, b);
        write_file_atomically(path, a);
      }
    }
    const auto end = std::chrono::steady_clock::now() + std::chrono::microseconds(random() % 30000);
    do {
      const std::string content = read_text_file(path);
      ASSERT_TRUE(content == a || content == b) << content.size();
    } while (std::chrono::steady_clock::now() < end);
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
    const std::string content = read_text_file(path);
    ASSERT_TRUE(content == a || content == b) << content.size();
  }
  write_file_atomically(path, "after");
  sweep_abandoned(directory.path());
  EXPECT_EQ(names_in(directory.path()), std::set<std::string>{"log.txt"});
}

TEST(CreateWritableDirectory, CreatesParentsAndGivesTheReasonOfAFailure) {
  const TemporaryDirectory directory;
  create_writable_directory(directory.path() / "a" / "b");
  create_writable_directory(directory.path() / "a" / "b");
  EXPECT_TRUE(names_in(directory.path() / "a" / "b").empty());
  std::ofstream(directory.path() / "file") << "x";
  const auto usage = [](const std::filesystem::path& path) {
    try {
      create_writable_directory(path);
      ADD_FAILURE() << path;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::usage);
      EXPECT_NE(std::string(error.what()).find(path.string()), std::string::npos) << error.what();
    }
  };
  usage(directory.path() / "file");
  usage(directory.path() / "file" / "below");
  usage("/proc/self");  // exists, but not even root may write into it
  usage("/proc/maskedkd");
}

// As mkdir(2) and open(2) define it. A folder shared by a group has mode 2775, and so have folders created in it.
TEST(Posix, TheUmaskAndTheParentDecideThePermissions) {
  const TemporaryDirectory root;
  ASSERT_EQ(chmod(root.path().c_str(), 02775), 0);
  const auto mode_of = [](const std::filesystem::path& path) {
    struct stat status {};
    EXPECT_EQ(stat(path.c_str(), &status), 0) << path;
    return status.st_mode & 07777;
  };
  const mode_t before = umask(0);
  for (const mode_t mask : {0U, 002U, 022U, 027U, 077U}) {
    umask(mask);
    const std::filesystem::path path = root.path() / std::to_string(mask);
    create_writable_directory(path);
    write_file_atomically(path / "file", "x");
    EXPECT_EQ(mode_of(path), 02777 & ~mask);
    EXPECT_EQ(mode_of(path / "file"), 0666 & ~mask);
  }
  umask(before);
}

TEST(Posix, AFolderIsListedOrAnErrorSaysWhyNot) {
  const testing::TemporaryDirectory root;
  EXPECT_TRUE(list_directory(root.path()).empty());
  for (const char* name : {"b", ".a"}) {
    std::ofstream(root.path() / name) << name;
  }
  std::vector<std::string> names = list_directory(root.path());
  std::sort(names.begin(), names.end());
  EXPECT_EQ(names, (std::vector<std::string>{".a", "b"}));
  for (const auto& [name, reason] : {std::pair("none", ENOENT), std::pair("b", ENOTDIR)}) {
    try {
      list_directory(root.path() / name);
      ADD_FAILURE() << name;
    } catch (const FileError& error) {
      EXPECT_EQ(error.reason(), reason);
      EXPECT_NE(std::string(error.what()).find((root.path() / name).string()), std::string::npos) << error.what();
    }
  }
}

}  // namespace
}  // namespace maskedkd
