// Thin throwing wrappers over POSIX files: short reads and EINTR are gone on with, everything else is an Error that
// names the path and the reason. Used wherever bytes must be somewhere for certain (shards, checkpoints, locks).
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

// What a person can do about an errno; empty where that is not known.
std::string hint_for_errno(int reason);
// Whether it says that this file system can't do that at all, not that it went wrong.
bool is_unsupported(int reason) noexcept;

// The operating system refused: "WHAT PATH: Permission denied". Says nothing about the file's content: what can't be
// read now may be whole.
class FileError : public Error {
 public:
  // hint: where hint_for_errno knows none.
  FileError(const std::string& what, const std::filesystem::path& path, int reason, const std::string& hint = {},
            std::source_location where = std::source_location::current());
  int reason() const noexcept { return reason_; }  // errno

 private:
  int reason_;
};

// Whether something has that name. Throws Error where that can't be known (EACCES, EIO).
bool is_there(const std::filesystem::path& path);
// The names in a folder, in no order.
std::vector<std::string> list_directory(const std::filesystem::path& directory);
FileDescriptor open_for_reading(const std::filesystem::path& path);
// Creates the file or empties an existing one.
FileDescriptor create_file(const std::filesystem::path& path);
// Creates the file or leaves an existing one's bytes, for write_at.
FileDescriptor open_for_update(const std::filesystem::path& path);
std::uint64_t file_size_bytes(const FileDescriptor& file, const std::filesystem::path& path);
// Fills all of `bytes` from `offset`; a file that ends before is an Error. Thread-safe (pread).
void read_exactly(const FileDescriptor& file, std::uint64_t offset, std::span<std::uint8_t> bytes,
                  const std::filesystem::path& path);
// The same without an exception: how many bytes came, and why no more did: 0 where all did, kEndOfFile, or the errno.
inline constexpr int kEndOfFile = -1;
struct ReadOutcome {
  std::size_t num_bytes = 0;
  int reason = 0;
};
ReadOutcome try_read(const FileDescriptor& file, std::uint64_t offset, std::span<std::uint8_t> bytes) noexcept;
void write_all(const FileDescriptor& file, std::span<const std::uint8_t> bytes, const std::filesystem::path& path);
// At `offset`; the file's own position stays. Thread-safe (pwrite).
void write_at(const FileDescriptor& file, std::uint64_t offset, std::span<const std::uint8_t> bytes,
              const std::filesystem::path& path);
// A file system that has no such call is said once.
void sync_file(const FileDescriptor& file, const std::filesystem::path& path);
// Makes the names inside the directory durable. Where the file system can't sync a folder (CIFS, some of FUSE) or does
// not let this user open it, that is said once, and the names are as durable as the file system makes them.
void sync_directory(const std::filesystem::path& directory);

// Whole small files. write_file_atomically: written to a temporary name beside it that is of this call only, synced,
// renamed, directory synced. A killed writer leaves that name (unfinished.hpp).
std::string read_text_file(const std::filesystem::path& path);
// nullopt: there is no such file, or one of more than largest_bytes. Any other trouble is an Error.
std::optional<std::string> read_text_file_if_there(const std::filesystem::path& path, std::uint64_t largest_bytes);
void write_file_atomically(const std::filesystem::path& path, std::string_view content);
// One that is not there is no error.
void remove_file(const std::filesystem::path& path);
// Creates the directory and its parents where missing, durably: the folder that each is in is synced.
void create_durable_directories(const std::filesystem::path& directory);
// The same; an Error that says why where it can't be written to.
void create_writable_directory(const std::filesystem::path& directory);

// Held for as long as the object lives; the kernel lets go of it when the process dies, however it dies.
class DirectoryLock {
 public:
  // Throws Error (usage) naming the holder where another process on this machine or file system holds it. who: one line
  // written into the lock file for that message, say "maskedkd_pack on host7, process 4711". Where the file system
  // gives no locks, for whatever reason, that is said once, and nothing is held.
  DirectoryLock(const std::filesystem::path& directory, std::string_view who);

 private:
  FileDescriptor file_;
};

}  // namespace maskedkd
