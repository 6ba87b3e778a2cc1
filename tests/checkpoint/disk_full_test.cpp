// A disk that is full before or while saving gives an Error; earlier checkpoints are unchanged and no incomplete one is
// left.
#include "example.hpp"

#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

namespace maskedkd::testing {
namespace {

constexpr std::int64_t kScale = 3000;

void only_the_old_one_is_there(const fs::path& root, std::int64_t step) {
  EXPECT_FALSE(has_leftovers(root));
  EXPECT_EQ(list_checkpoints(root).size(), 1u);
  const auto found = find_newest_checkpoint(root, nothing_is_damaged);
  EXPECT_TRUE(found && is_example_state(*found, step, kScale));
}

// A limit on file sizes stops the writing at any byte of any file, as a full disk does.
TEST(DiskFull, AFileCutAtManyPlacesIsAnErrorAndLeavesTheOldCheckpoint) {
  const RunFolder root;
  save_checkpoint(root.lease(), root.path(), example_state(1, kScale));
  std::mt19937 random(17);
  for (int i = 0; i < 24; ++i) {
    // The largest file, the optimizer's, has about 126 KB; the first limits cut small files.
    const rlim_t limit_bytes = i < 8 ? static_cast<rlim_t>(i) * 40 : random() % 100000;
    const pid_t child = fork();
    if (child == 0) {
      signal(SIGXFSZ, SIG_IGN);
      const rlimit limit{limit_bytes, limit_bytes};
      setrlimit(RLIMIT_FSIZE, &limit);
      try {
        save_checkpoint(root.lease(), root.path(), example_state(2, kScale));
        _exit(1);
      } catch (const Error& error) {
        const std::string text = error.what();
        _exit(text.find("can't save a checkpoint") != std::string::npos &&
                      text.find("File too large") != std::string::npos && !error.hint().empty()
                  ? 0
                  : 2);
      } catch (...) {
        _exit(3);
      }
    }
    int status = 0;
    waitpid(child, &status, 0);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "limit " << limit_bytes << ", status " << status;
    only_the_old_one_is_there(root.path(), 1);
  }
  save_checkpoint(root.lease(), root.path(), example_state(2, kScale));
  EXPECT_TRUE(is_example_state(*find_newest_checkpoint(root.path(), nothing_is_damaged), 2, kScale));
}

// A mounted tmpfs; only root can mount one.
class SmallDisk {
 public:
  explicit SmallDisk(const char* options)
      : mounted_(mount("tmpfs", directory_.path().c_str(), "tmpfs", 0, options) == 0) {
    if (mounted_) {
      lease_.emplace(directory_.path(), this_process("a test"));
    }
  }
  ~SmallDisk() {
    lease_.reset();
    if (mounted_) {
      umount2(directory_.path().c_str(), MNT_DETACH);
    }
  }
  bool mounted() const { return mounted_; }
  const fs::path& path() const { return directory_.path(); }
  const Lease& lease() const { return *lease_; }

 private:
  TemporaryDirectory directory_;
  bool mounted_;
  std::optional<Lease> lease_;
};

TEST(DiskFull, TooSmallADiskIsAnErrorBeforeAnythingIsWritten) {
  const SmallDisk disk("size=2m");
  if (!disk.mounted()) {
    GTEST_SKIP() << "can't mount a small tmpfs here (not root, or in a container)";
  }
  save_checkpoint(disk.lease(), disk.path(), example_state(1, kScale));
  write_bytes(disk.path() / "filler", std::string(1 << 20, 'x'));
  const std::string message = error_of([&] { save_checkpoint(disk.lease(), disk.path(), example_state(2, kScale)); });
  EXPECT_NE(message.find("not enough space for a checkpoint"), std::string::npos) << message;
  EXPECT_NE(message.find("1 MB needed, 0 MB free"), std::string::npos) << message;
  only_the_old_one_is_there(disk.path(), 1);
  fs::remove(disk.path() / "filler");
  save_checkpoint(disk.lease(), disk.path(), example_state(2, kScale));
  EXPECT_TRUE(is_example_state(*find_newest_checkpoint(disk.path(), nothing_is_damaged), 2, kScale));
}

// The file system has free bytes but few inodes: "no space" occurs at the folder, the first file or the last file.
TEST(DiskFull, TooFewInodesForAnyFileIsAnErrorAndLeavesTheOldCheckpoint) {
  for (int free_names = 0; free_names < 6; ++free_names) {
    // One inode for the root, four for the lease, six for the first checkpoint and its files.
    const SmallDisk disk(("size=16m,nr_inodes=" + std::to_string(11 + free_names)).c_str());
    if (!disk.mounted()) {
      GTEST_SKIP() << "can't mount a small tmpfs here (not root, or in a container)";
    }
    save_checkpoint(disk.lease(), disk.path(), example_state(1, kScale));
    const std::string message = error_of([&] { save_checkpoint(disk.lease(), disk.path(), example_state(2, kScale)); });
    EXPECT_NE(message.find("No space left on device"), std::string::npos) << free_names << ": " << message;
    only_the_old_one_is_there(disk.path(), 1);
  }
}

}  // namespace
}  // namespace maskedkd::testing
