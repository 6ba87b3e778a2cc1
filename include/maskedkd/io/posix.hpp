// Thin throwing wrappers over POSIX files: short reads and writes and EINTR are continued, every other failure is an
// Error that names the path and the reason. Used wherever bytes must be durable (shards, checkpoints, locks).
#pragma once

#include "maskedkd/base/error.hpp"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace maskedkd {

// Owns a file descriptor; move-only.
class FileDescriptor {
 public:
  FileDescriptor() = default;
  explicit FileDescriptor(int descriptor) noexcept : descriptor_(descriptor) {}
  FileDescriptor(FileDescriptor&& other) noexcept;
  FileDescriptor& operator=(FileDescriptor&& other) noexcept;
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;
  ~FileDescriptor();

  int get() const noexcept { return descriptor_; }

 private:
  int descriptor_ = -1;
};

// What a user can do about an errno; empty where there is no advice.
std::string hint_for_errno(int reason);
// Whether the errno means that the file system does not support the call, not that the call failed.
bool is_unsupported(int reason) noexcept;

// A call of the operating system failed: "WHAT PATH: Permission denied". Says nothing about the file's content: a file
// that can't be read now may be intact.
class FileError : public Error {
 public:
  // hint: used where hint_for_errno() gives none.
  FileError(const std::string& what, const std::filesystem::path& path, int reason, const std::string& hint = {},
            std::source_location where = std::source_location::current());
  int reason() const noexcept { return reason_; }  // errno

 private:
  int reason_;
};

// Whether the path exists. Throws Error where that can't be determined (EACCES, EIO).
bool path_exists(const std::filesystem::path& path);
// The names in a folder, unsorted.
std::vector<std::string> list_directory(const std::filesystem::path& directory);
FileDescriptor open_for_reading(const std::filesystem::path& path);
// Creates the file or empties an existing one.
FileDescriptor create_file(const std::filesystem::path& path);
// Creates the file or keeps the bytes of an existing one, for write_at.
FileDescriptor open_for_update(const std::filesystem::path& path);
std::uint64_t file_size_bytes(const FileDescriptor& file, const std::filesystem::path& path);
// Fills all of `bytes` from `offset`; a file that is too short is an Error. Thread-safe (pread).
void read_exactly(const FileDescriptor& file, std::uint64_t offset, std::span<std::uint8_t> bytes,
                  const std::filesystem::path& path);
// The same without an exception. reason: why fewer bytes were read (kEndOfFile or the errno); 0 where all were.
inline constexpr int kEndOfFile = -1;
struct ReadOutcome {
  std::size_t num_bytes = 0;
  int reason = 0;
};
ReadOutcome try_read(const FileDescriptor& file, std::uint64_t offset, std::span<std::uint8_t> bytes) noexcept;
void write_all(const FileDescriptor& file, std::span<const std::uint8_t> bytes, const std::filesystem::path& path);
// Writes at `offset` and leaves the file's position unchanged. Thread-safe (pwrite).
void write_at(const FileDescriptor& file, std::uint64_t offset, std::span<const std::uint8_t> bytes,
              const std::filesystem::path& path);
// Where the file system does not support it, that is a warning, once.
void sync_file(const FileDescriptor& file, const std::filesystem::path& path);
// Makes the names in the directory durable. Where the file system can't sync a folder (CIFS, some of FUSE) or this user
// may not open it, that is a warning, once, and the names are as durable as the file system makes them.
void sync_directory(const std::filesystem::path& directory);

// Whole small files. write_file_atomically: writes a temporary file in the same folder, with a name that no other call
// uses, syncs it, renames it and syncs the folder. A killed writer leaves the temporary file (unfinished.hpp).
std::string read_text_file(const std::filesystem::path& path);
// nullopt: there is no such file, or it has more than largest_bytes. Any other failure is an Error.
std::optional<std::string> read_text_file_if_exists(const std::filesystem::path& path, std::uint64_t largest_bytes);
void write_file_atomically(const std::filesystem::path& path, std::string_view content);
// A missing file is not an error.
void remove_file(const std::filesystem::path& path);
// Creates the directory and its missing parents, durably: the folder that contains each of them is synced.
void create_durable_directories(const std::filesystem::path& directory);
// The same. Throws Error (usage) with the reason also where an existing one can't be written to.
void create_writable_directory(const std::filesystem::path& directory);

// A lock that is held for as long as the object lives. The kernel releases it when the process ends, however it ends.
class DirectoryLock {
 public:
  // Throws Error (usage) that names the holder where another process on this machine or file system holds the lock.
  // who: a line that is written to the lock file for that message, as "maskedkd_pack on host7, process 4711". Where the
  // file system gives no locks, for whatever reason, that is a warning, once, and there is no lock.
  DirectoryLock(const std::filesystem::path& directory, std::string_view who);

 private:
  FileDescriptor file_;
};

}  // namespace maskedkd
