// Tests the fault library: calls are seen, counted and disturbed as planned, and a power cut loses what was not synced.
#include "faults/faulty_child.hpp"
#include "maskedkd/base/error.hpp"
#include "maskedkd/io/posix.hpp"
#include "support/temporary_directory.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>

namespace maskedkd::testing {
namespace {

namespace fs = std::filesystem;

void write_note(const fs::path& path, const std::string& text, bool synced) {
  const FileDescriptor file = create_file(path);
  write_all(file, {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()}, path);
  if (synced) {
    sync_file(file, path);
  }
}

class FileFaults : public ::testing::Test {
 protected:
  FileFaults() { fs::create_directory(root()); }
  fs::path root() const { return place_.path() / "root"; }
  std::vector<Operation> recorded(const std::function<void()>& work) {
    const ChildEnd end = run_recorded(root(), place_.path() / "log", [&](Promised&) { work(); });
    EXPECT_EQ(end.exit_code, 0) << end.promised.message;
    return read_operations(place_.path() / "log");
  }
  // The contents of the folder after a power cut at the end of `work`.
  fs::path after_power_cut(const std::function<void()>& work, Survival survival = Survival::synced_only,
                           std::uint64_t seed = 0) {
    const PowerCut power_cut(root());
    const std::vector<Operation> operations = recorded(work);
    const fs::path target = place_.path() / ("cut-" + std::to_string(++cuts_));
    power_cut.rebuild(operations, operations.size(), survival, seed, target);
    return target;
  }

  TemporaryDirectory place_;
  int cuts_ = 0;
};

TEST_F(FileFaults, EveryCallThatChangesSomethingIsSeen) {
  const std::vector<Operation> operations = recorded([&] {
    fs::create_directory(root() / "a");
    fs::permissions(root() / "a", fs::perms(0755));
    write_note(root() / "a/x", "12345", true);
    fs::resize_file(root() / "a/x", 3);
    fs::rename(root() / "a/x", root() / "y");
    fs::create_symlink("y", root() / "z");
    fs::create_hard_link(root() / "y", root() / "w");
    std::string pattern = (root() / "t-XXXXXX").string();
    EXPECT_NE(mkdtemp(pattern.data()), nullptr);
    fs::remove(root() / "z");
    std::remove((root() / "w").c_str());
    sync_directory(root());
    write_note(root() / "a/b", "1", false);
    fs::remove_all(root() / "a");
    write_note(place_.path() / "elsewhere", "not counted", true);
  });
  std::string seen;
  for (const Operation& operation : operations) {
    seen += std::string(name_of_call(operation.call)) + " ";
    EXPECT_EQ(operation.number, static_cast<std::uint64_t>(&operation - operations.data()) + 1);
  }
  EXPECT_EQ(seen,
            "mkdir chmod open write sync close truncate rename symlink link mkdir unlink unlink sync open write close "
            "unlink rmdir ");
  EXPECT_EQ(operations[3].data, "12345");
}

TEST_F(FileFaults, EachKindOfFaultHasItsEffect) {
  const auto work = [&](Promised&) { write_note(root() / "x", "12345678", true); };  // open write sync close
  const auto size_after = [&](const FaultPoint& point, bool killed, int code) {
    fs::remove(root() / "x");
    const ChildEnd end = run_faulty(root(), point, work);
    EXPECT_EQ(end.killed, killed) << point.text();
    EXPECT_EQ(killed ? 0 : end.exit_code, code) << point.text() << ": " << end.promised.message;
    EXPECT_EQ(end.fired, 1U) << point.text();
    return fs::exists(root() / "x") ? static_cast<int>(fs::file_size(root() / "x")) : -1;
  };
  EXPECT_EQ(size_after({FAULTS_KILL_BEFORE, 1}, true, 0), -1);
  EXPECT_EQ(size_after({FAULTS_KILL_AFTER, 1}, true, 0), 0);
  EXPECT_EQ(size_after({FAULTS_KILL_BEFORE, 2}, true, 0), 0);
  EXPECT_EQ(size_after({FAULTS_KILL_HALF, 2}, true, 0), 4);
  EXPECT_EQ(size_after({FAULTS_KILL_AFTER, 2}, true, 0), 8);
  EXPECT_EQ(size_after({FAULTS_ERROR, 1, EACCES}, false, 1), -1);
  EXPECT_EQ(size_after({FAULTS_ERROR, 2, ENOSPC}, false, 1), 0);
  EXPECT_EQ(size_after({FAULTS_ERROR, 3, EIO}, false, 1), 8);
  EXPECT_EQ(size_after({FAULTS_SHORT, 2}, false, 0), 8);
  for (const std::uint64_t call : {1U, 2U, 3U}) {
    EXPECT_EQ(size_after({FAULTS_ERROR, call, EINTR}, false, 0), 8) << "a signal is no error";
  }
  fs::remove(root() / "x");
  const ChildEnd full = run_faulty(root(), {FAULTS_FULL_DISK, 2}, work);
  EXPECT_EQ(full.exit_code, 1);
  EXPECT_NE(std::string(full.promised.message).find("No space left on device"), std::string::npos);
  EXPECT_EQ(fs::file_size(root() / "x"), 4U);
  EXPECT_GE(full.fired, 2U);
}

TEST_F(FileFaults, APowerCutLosesWhatWasNotSynced) {
  const auto careless = after_power_cut([&] {
    write_note(root() / "new", "12345678", false);
    fs::rename(root() / "new", root() / "renamed");
    sync_directory(root());
  });
  EXPECT_EQ(fs::file_size(careless / "renamed"), 0U);
  EXPECT_FALSE(fs::exists(careless / "new"));
  EXPECT_FALSE(fs::exists(after_power_cut([&] { write_note(root() / "nameless", "1", true); }) / "nameless"));
  const auto folder = after_power_cut([&] {
    fs::create_directories(root() / "a" / "b");
    write_note(root() / "a" / "b" / "x", "1", true);
    sync_directory(root() / "a" / "b");
    sync_directory(root() / "a");
  });
  EXPECT_FALSE(fs::exists(folder / "a")) << "its own name was not synced";
  const auto kept = after_power_cut([&] { write_file_atomically(root() / "kept", "12345678"); });
  EXPECT_EQ(read_text_file(kept / "kept"), "12345678");
}

TEST_F(FileFaults, UnsyncedPartsSurviveByChance) {
  write_file_atomically(root() / "old", "old");
  int new_names = 0, whole = 0, cut = 0, old_names = 0;
  for (std::uint64_t seed = 0; seed < 64; ++seed) {
    fs::remove(root() / "new");
    write_file_atomically(root() / "old", "old");
    const auto found = after_power_cut(
        [&] {
          write_note(root() / "x", "12345678", false);
          fs::rename(root() / "x", root() / "new");
          fs::remove(root() / "old");
        },
        Survival::random, seed);
    old_names += fs::exists(found / "old") ? 1 : 0;
    if (fs::exists(found / "new")) {
      ++new_names;
      whole += read_text_file(found / "new") == "12345678" ? 1 : 0;
      cut += fs::file_size(found / "new") < 8 ? 1 : 0;
    }
    EXPECT_FALSE(fs::exists(found / "new") && fs::exists(found / "x")) << "a rename is one thing";
  }
  EXPECT_GT(new_names, 10);
  EXPECT_GT(old_names, 10);
  EXPECT_LT(old_names, 54);
  EXPECT_GT(whole, 2);
  EXPECT_GT(cut, 2);
}

}  // namespace
}  // namespace maskedkd::testing
