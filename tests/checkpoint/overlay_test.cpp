// A run in the lower layer of an overlay, as in a container's image. Files can be renamed there, folders can't:
// rename(2) of a lower folder gives EXDEV (Linux, Documentation/filesystems/overlayfs.rst).
#include "example.hpp"
#include "maskedkd/io/posix.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <map>

namespace maskedkd::testing {
namespace {

// The folders of the lower layer by inode number, which a rename keeps. No new folder gets the number of an open one.
std::map<ino_t, FileDescriptor> lower_folders;

ino_t number_of(const fs::path& folder) {
  struct stat status {};
  return ::lstat(folder.c_str(), &status) == 0 && S_ISDIR(status.st_mode) ? status.st_ino : 0;
}

// Makes all existing folders part of the lower layer.
void make_lower(const fs::path& root) {
  lower_folders.clear();
  for (const auto& entry : fs::recursive_directory_iterator(root)) {
    if (entry.is_directory() && !entry.is_symlink()) {
      lower_folders.emplace(number_of(entry.path()),
                            FileDescriptor(::open(entry.path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)));
    }
  }
}

bool is_lower(const char* path) { return lower_folders.count(number_of(path)) > 0; }

}  // namespace
}  // namespace maskedkd::testing

// Replaces the C library's function.
extern "C" int rename(const char* from, const char* to) noexcept {
  if (maskedkd::testing::is_lower(from)) {
    errno = EXDEV;
    return -1;
  }
  return static_cast<int>(::syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0));
}

namespace maskedkd::testing {
namespace {

TEST(Overlay, ARunOfTheLowerLayerContinuesAndItsCheckpointsAreReplaced) {
  RunFolder run;
  for (const std::int64_t step : {1, 2}) {
    save_checkpoint(run.lease(), run.path(), example_state(step));
  }
  mark_best(run.lease(), run.path(), checkpoint_path(run.path(), 1));
  make_lower(run.path());
  ASSERT_EQ(::rename((run.path() / ".lease").c_str(), (run.path() / "other").c_str()), -1);

  run.start_anew();
  EXPECT_EQ(run.lease().generation(), 2);
  EXPECT_NO_THROW(run.lease().check());
  EXPECT_EQ(names_in(run.path() / ".lease"), std::set<std::string>{"000000002"}) << "the older one could still write";
  EXPECT_EQ(find_newest_checkpoint(run.path(), [](const std::string& line) { FAIL() << line; }).value().step, 2);

  const fs::path third = save_checkpoint(run.lease(), run.path(), example_state(3));
  mark_best(run.lease(), run.path(), third);
  retain_checkpoints(run.lease(), run.path(), {1});
  EXPECT_EQ(names_in(run.path()), (std::set<std::string>{"best", "step-000000003"}));
  EXPECT_TRUE(is_example_state(load_checkpoint(run.path() / "best"), 3));
  EXPECT_FALSE(has_leftovers(run.path()));
}

TEST(Overlay, ADamagedCheckpointOfTheLowerLayerIsReplaced) {
  RunFolder run;
  const fs::path path = save_checkpoint(run.lease(), run.path(), example_state(1));
  fs::resize_file(path / "model.safetensors", 10);
  make_lower(run.path());
  run.start_anew();
  save_checkpoint(run.lease(), run.path(), example_state(1));
  EXPECT_TRUE(is_example_state(load_checkpoint(path), 1));
  EXPECT_FALSE(has_leftovers(run.path()));
}

}  // namespace
}  // namespace maskedkd::testing
