// Files of dead writers are swept, files that are being written are kept.
#include "maskedkd/io/unfinished.hpp"

#include "support/temporary_directory.hpp"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>

namespace maskedkd {
namespace {

namespace fs = std::filesystem;
using testing::TemporaryDirectory;

void put(const fs::path& path) { std::ofstream(path) << "half"; }

// The name that a process, which has ended since, gave its file.
fs::path name_of_a_dead_writer(const fs::path& final_path) {
  int pipe_ends[2];
  EXPECT_EQ(pipe(pipe_ends), 0);
  const pid_t child = fork();
  if (child == 0) {
    const std::string name = unfinished_path(final_path).string();
    _exit(write(pipe_ends[1], name.data(), name.size()) == static_cast<ssize_t>(name.size()) ? 0 : 1);
  }
  std::string name(4096, '\0');
  const ssize_t length = read(pipe_ends[0], name.data(), name.size());
  EXPECT_GT(length, 0);
  name.resize(static_cast<std::size_t>(length));
  EXPECT_EQ(waitpid(child, nullptr, 0), child);
  close(pipe_ends[0]);
  close(pipe_ends[1]);
  return name;
}

// The name that another container would give, where the same number may be another process.
fs::path in_another_place(const fs::path& path) {
  std::string text = path.string();
  const std::size_t end = text.rfind('.');
  text.replace(end - 8, 8, "0badcafe");
  return text;
}

void make_old(const fs::path& path) {
  fs::last_write_time(path, fs::file_time_type::clock::now() - kAbandonedAfter - std::chrono::minutes(1));
}

TEST(Unfinished, NamesAreUniqueAndContainThePlace) {
  const fs::path one = unfinished_path("/a/shard-00001.h5"), other = unfinished_path("/a/shard-00001.h5");
  EXPECT_NE(one, other);
  EXPECT_EQ(one.parent_path(), "/a");
  EXPECT_TRUE(one.filename().string().starts_with(".tmp-shard-00001.h5-" + std::to_string(getpid()) + ".")) << one;
}

TEST(Unfinished, OnlyFilesOfDeadWritersAreSwept) {
  const TemporaryDirectory folder;
  const fs::path dead = name_of_a_dead_writer(folder.path() / "x-1"), live = unfinished_path(folder.path() / "x-1");
  const fs::path elsewhere = in_another_place(dead), of_another_program = folder.path() / ".tmp-4711-shard-00000.h5";
  const fs::path finished = folder.path() / "x-1";
  for (const fs::path& path : {dead, live, elsewhere, of_another_program, finished}) {
    put(path);
  }
  make_old(live);
  sweep_abandoned(folder.path());
  EXPECT_FALSE(fs::exists(dead));
  EXPECT_TRUE(fs::exists(live)) << "this process lives, however long it takes";
  EXPECT_TRUE(fs::exists(elsewhere)) << "unknown is not dead";
  EXPECT_TRUE(fs::exists(of_another_program));
  make_old(elsewhere);
  make_old(of_another_program);
  make_old(finished);
  sweep_abandoned(folder.path());
  EXPECT_FALSE(fs::exists(elsewhere)) << "it was not written for an hour";
  EXPECT_TRUE(fs::exists(of_another_program)) << "its name is none of ours, however old it is";
  EXPECT_TRUE(fs::exists(live));
  EXPECT_TRUE(fs::exists(finished));
  EXPECT_EQ(std::distance(fs::directory_iterator(folder.path()), fs::directory_iterator()), 3) << "no probe stays";
}

TEST(Unfinished, AMissingFolderIsNoError) { EXPECT_NO_THROW(sweep_abandoned("/nonexistent/folder")); }

}  // namespace
}  // namespace maskedkd
