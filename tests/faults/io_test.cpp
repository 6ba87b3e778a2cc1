// The guarantees of src/io with a fault at every call: a file is complete or absent, an error leaves nothing behind,
// and what was written is durable when the call returns.
#include "faults/faulty_child.hpp"
#include "maskedkd/base/error.hpp"
#include "maskedkd/io/posix.hpp"
#include "maskedkd/io/unfinished.hpp"
#include "support/temporary_directory.hpp"

#include <gtest/gtest.h>

namespace maskedkd::testing {
namespace {

namespace fs = std::filesystem;

void write_file(const fs::path& root) { write_file_atomically(root / "file", "12345678"); }
bool has_file(const fs::path& root) { return read_text_file(root / "file") == "12345678"; }

void make_folders(const fs::path& root) { create_writable_directory(root / "a" / "b" / "c"); }
bool has_folders(const fs::path& root) { return fs::is_directory(root / "a" / "b" / "c"); }

struct Work {
  std::string name;
  void (*run)(const fs::path&);
  bool (*is_done)(const fs::path&);
  bool may_stay;  // whether created folders may stay after an error
};
const std::vector<Work> kWorks = {{"file", write_file, has_file, false}, {"folders", make_folders, has_folders, true}};

std::string names_below(const fs::path& root) {
  std::string names;
  for (const auto& entry : fs::recursive_directory_iterator(root)) {
    names += entry.path().lexically_relative(root).string() + " ";
  }
  return names;
}

TEST(Io, AnErrorAtAnyCallLeavesNothingAndASignalIsNoError) {
  int done = 0;
  for (const Work& work : kWorks) {
    const TemporaryDirectory place;
    const fs::path root = place.path() / "root", log = place.path() / "log";
    fs::create_directory(root);
    ASSERT_EQ(run_recorded(root, log, [&](Promised&) { work.run(root); }).exit_code, 0);
    const std::vector<FaultPoint> points = error_points(read_operations(log));
    ASSERT_GT(points.size(), 20U);
    for (const FaultPoint& point : points) {
      fs::remove_all(root);
      fs::create_directory(root);
      const ChildEnd end = run_faulty(root, point, [&](Promised&) { work.run(root); });
      SCOPED_TRACE(work.name + ", " + point.text() + ", " + end.call);
      EXPECT_GE(end.fired, 1U);
      ASSERT_LT(end.exit_code, 2) << end.promised.message;
      if (end.exit_code == 0) {
        EXPECT_TRUE(work.is_done(root));
      } else {
        EXPECT_FALSE(is_harmless(point)) << end.promised.message;
        EXPECT_NE(std::string(end.promised.message).find(root.string()), std::string::npos) << end.promised.message;
        EXPECT_NE(end.promised.hint[0], '\0') << end.promised.message;
        // If the last sync fails, all data exists, but may not be durable.
        const bool is_there = fs::exists(root / work.name) && work.is_done(root);
        if (point.kind == FAULTS_ERROR && !work.may_stay && !is_there) {
          EXPECT_EQ(names_below(root), "");
        }
      }
      ++done;
    }
  }
  std::printf("%d errors\n", done);
}

TEST(Io, WritesAreDurableWhenTheyReturn) {
  for (const Work& work : kWorks) {
    const TemporaryDirectory place;
    const fs::path root = place.path() / "root", log = place.path() / "log", after = place.path() / "after";
    fs::create_directory(root);
    const PowerCut power_cut(root);
    ASSERT_EQ(run_recorded(root, log, [&](Promised&) { work.run(root); }).exit_code, 0);
    const std::vector<Operation> operations = read_operations(log);
    for (std::size_t num = 0; num <= operations.size(); ++num) {
      for (std::uint64_t seed = 0; seed < 4; ++seed) {
        power_cut.rebuild(operations, num, seed == 0 ? Survival::synced_only : Survival::random, seed, after);
        if (num == operations.size() || (fs::exists(after / work.name) && !work.may_stay)) {
          EXPECT_TRUE(work.is_done(after)) << work.name << " after " << num << " of " << operations.size();
        }
        fs::remove_all(after);
      }
    }
  }
}

TEST(Io, EveryWriterHasItsOwnTemporaryFile) {
  const TemporaryDirectory place;
  std::string names[2];
  for (std::string& name : names) {
    const ChildEnd end = run_faulty(place.path(), {FAULTS_KILL_AFTER, 1}, [&](Promised&) { write_file(place.path()); });
    ASSERT_TRUE(end.killed);
    name = end.call;
  }
  EXPECT_NE(names[0], names[1]);
  EXPECT_EQ(std::distance(fs::directory_iterator(place.path()), {}), 2);
  sweep_abandoned(place.path());
  EXPECT_TRUE(fs::is_empty(place.path()));
}

}  // namespace
}  // namespace maskedkd::testing
