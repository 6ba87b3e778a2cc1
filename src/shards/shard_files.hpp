// The files of a set behind its records: opened when they are first read, no more of them at a time than the limit of
// file descriptors allows, and read with patience: a network file system that fails for a while is tried again. A file
// may be given another place while it is read (a copy on the node's own disk). Thread-safe.
#pragma once

#include "maskedkd/io/posix.hpp"

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

namespace maskedkd {

class ShardFiles {
 public:
  // most_open: 0: what the process may open, of which others get 512 (its soft limit is raised to the hard one).
  explicit ShardFiles(std::vector<std::filesystem::path> paths, std::size_t most_open = 0);

  std::filesystem::path path(std::size_t file) const;
  // From now on the file is read here. Reads under way end where they began.
  void move(std::size_t file, const std::filesystem::path& path);

  // Fills `bytes`. EIO, ETIMEDOUT, ESTALE and their like are tried again for 6 seconds, each time through a new
  // descriptor. Throws Error; ends_early: the Error says that the file is shorter than that.
  void read(std::size_t file, std::uint64_t offset, std::span<std::uint8_t> bytes, bool& ends_early) const;
  // The kernel may begin to read this; nothing is waited for, no file is opened for it.
  void will_need(std::size_t file, std::uint64_t offset, std::uint64_t num_bytes) const;
  std::size_t num_open() const;

 private:
  struct OpenFile {
    FileDescriptor descriptor;
    std::filesystem::path path;
  };
  struct Slot {
    std::filesystem::path path;
    std::shared_ptr<const OpenFile> file;
    std::uint64_t last_used = 0;
  };
  std::shared_ptr<const OpenFile> open(std::size_t file, int& reason) const;  // nullptr: reason is the errno
  bool close_oldest(const Slot* but) const;                                   // whether there was one; the lock is held
  void close(std::size_t file, const std::shared_ptr<const OpenFile>& opened) const;

  mutable std::size_t most_open_;
  mutable std::mutex mutex_;
  mutable std::vector<Slot> slots_;
  mutable std::size_t num_open_ = 0;
  mutable std::uint64_t clock_ = 0;
  mutable std::atomic<bool> has_warned_ = false;
};

}  // namespace maskedkd
