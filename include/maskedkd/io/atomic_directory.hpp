// A directory that appears whole or not at all: filled under a temporary name beside its place, every file and name
// synced, then renamed. What a killed process leaves behind is recognisable by its name (unfinished.hpp).
#pragma once

#include <filesystem>

namespace maskedkd {

class AtomicDirectory {
 public:
  // final_path must not exist yet at commit; its parent must exist. Creates it under its unfinished_path(), with
  // the permissions that the umask and the parent leave it.
  explicit AtomicDirectory(std::filesystem::path final_path);
  AtomicDirectory(const AtomicDirectory&) = delete;
  AtomicDirectory& operator=(const AtomicDirectory&) = delete;
  ~AtomicDirectory();  // removes the temporary directory unless committed

  const std::filesystem::path& path() const noexcept { return temporary_path_; }
  // Syncs every regular file in it and the directories, renames, syncs the parent. Throws Error; nothing appears then.
  void commit();

 private:
  std::filesystem::path final_path_;
  std::filesystem::path temporary_path_;
  bool committed_ = false;
};

// Syncs every regular file in the directory, and all folders; throws Error.
void sync_tree(const std::filesystem::path& directory);

}  // namespace maskedkd
