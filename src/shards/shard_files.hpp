// The shard files that records are read from. A file is opened when it is first read, and no more are open at a time
// than the limit of file descriptors allows. Reads that a network file system fails are repeated for a while. A file
// can be replaced by a copy at another path while it is in use (a copy on the node's local disk). Thread-safe.
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
  // most_open: files that are open at a time; 0: all that the process may open (the soft limit is raised towards the
  // hard one), less 512 for other uses.
  explicit ShardFiles(std::vector<std::filesystem::path> paths, std::size_t most_open = 0);

  std::filesystem::path path(std::size_t file) const;
  // From now on the file is read from `path`. Reads in progress finish on the file that they began with.
  void move(std::size_t file, const std::filesystem::path& path);

  // Fills `bytes`. After EIO, ETIMEDOUT, ESTALE and the like, the read is repeated for 6 seconds, each time through a
  // new descriptor. Throws Error; ends_early: set where the reason is that the file is too short.
  void read(std::size_t file, std::uint64_t offset, std::span<std::uint8_t> bytes, bool& ends_early) const;
  // Asks the kernel to read these bytes ahead, if the file is open. Does not wait.
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
  // Closes the file that was used longest ago, other than `but`; returns false where none is open. The caller holds the
  // lock.
  bool close_oldest(const Slot* but) const;
  void close(std::size_t file, const std::shared_ptr<const OpenFile>& opened) const;

  mutable std::size_t most_open_;
  mutable std::mutex mutex_;
  mutable std::vector<Slot> slots_;
  mutable std::size_t num_open_ = 0;
  mutable std::uint64_t clock_ = 0;
  mutable std::atomic<bool> has_warned_ = false;
};

}  // namespace maskedkd
