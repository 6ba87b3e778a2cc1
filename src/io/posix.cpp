#include "maskedkd/io/posix.hpp"

#include "maskedkd/base/log.hpp"
#include "maskedkd/io/unfinished.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>

namespace maskedkd {
namespace {

constexpr std::size_t kLargestTransfer = std::size_t{1} << 30;  // Linux moves at most 2 GiB a call

// On a network file system a file may be replaced while it is read (ESTALE); opening it again opens the new one.
constexpr int kReadAttempts = 5;
constexpr std::chrono::milliseconds kBetweenReadAttempts{50};

// The kernel's internal "not supported", which some file systems return to programs; strerror() does not know it.
constexpr int kKernelNotSupported = 524;

std::string text_of(int reason) {
  return reason == kKernelNotSupported ? fmt::format("Operation not supported (errno {})", reason)
                                       : std::strerror(reason);
}

[[noreturn]] void fail(const std::string& what, const std::filesystem::path& path, int reason = errno) {
  throw FileError(what, path, reason);
}

int open_retrying(const std::filesystem::path& path, int flags) {
  int descriptor;
  do {
    descriptor = ::open(path.c_str(), flags | O_CLOEXEC, 0666);
  } while (descriptor < 0 && errno == EINTR);
  return descriptor;
}

FileDescriptor open_or_fail(const std::filesystem::path& path, int flags, const char* what) {
  FileDescriptor file(open_retrying(path, flags));
  if (file.get() < 0) {
    fail(what, path);
  }
  return file;
}

// Returns 0 or the errno. On a network file system the call may be interrupted.
int sync_retrying(int descriptor) {
  while (::fsync(descriptor) != 0) {
    if (errno != EINTR) {
      return errno;
    }
  }
  return 0;
}

// Creates the directory and its missing parents. Returns 0 or the errno.
int make_directories(const std::filesystem::path& directory) {
  std::error_code unknown;
  if (directory.empty() || std::filesystem::is_directory(directory, unknown)) {
    return 0;
  }
  const std::filesystem::path parent = directory.parent_path();
  if (const int reason = make_directories(parent); reason != 0 || !directory.has_filename()) {
    return reason;  // the path ended with a slash
  }
  if (::mkdir(directory.c_str(), 0777) != 0) {
    const int reason = errno;  // EEXIST where another process has created it meanwhile
    return reason == EEXIST && std::filesystem::is_directory(directory, unknown) ? 0 : reason;
  }
  sync_directory(parent.empty() ? "." : parent);
  return 0;
}

}  // namespace

std::string hint_for_errno(int reason) {
  switch (reason) {
    case ENOSPC:
    case EDQUOT:
      return "free some space on that file system";
    case EACCES:
    case EPERM:
    case EROFS:
      return "check the permissions of that folder";
    case EMFILE:
    case ENFILE:
      return "raise the limit of open files: ulimit -n";
    case EIO:
      return "the disk or the file server is failing: ask its administrator";
    case EXDEV:
      return "keep that folder on one file system, without links that lead out of it: copy it there, and use the copy";
    default:
      return is_unsupported(reason) || reason == EBADF || reason == ENOLCK
                 ? "that file system can't do this: choose a folder on another one"
                 : "";
  }
}

bool is_unsupported(int reason) noexcept {
  return reason == EINVAL || reason == ENOSYS || reason == EOPNOTSUPP || reason == ENOTTY ||
         reason == kKernelNotSupported;
}

FileError::FileError(const std::string& what, const std::filesystem::path& path, int reason, const std::string& hint,
                     std::source_location where)
    : Error(fmt::format("{} {}: {}", what, path.string(), text_of(reason)),
            hint_for_errno(reason).empty() ? hint : hint_for_errno(reason), ExitCode::failure, where),
      reason_(reason) {}

FileDescriptor::FileDescriptor(FileDescriptor&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}

FileDescriptor& FileDescriptor::operator=(FileDescriptor&& other) noexcept {
  std::swap(descriptor_, other.descriptor_);
  return *this;
}

FileDescriptor::~FileDescriptor() {
  if (descriptor_ >= 0) {
    ::close(descriptor_);
  }
}

bool path_exists(const std::filesystem::path& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) == 0) {
    return true;
  }
  if (errno != ENOENT && errno != ENOTDIR) {
    fail("can't look at", path);
  }
  return false;
}

std::vector<std::string> list_directory(const std::filesystem::path& directory) {
  std::vector<std::string> names;
  std::error_code error;
  for (std::filesystem::directory_iterator entry(directory, error); !error && entry != end(entry);
       entry.increment(error)) {
    names.push_back(entry->path().filename().string());
  }
  if (error) {
    fail("can't list", directory, error.value());
  }
  return names;
}

FileDescriptor open_for_reading(const std::filesystem::path& path) {
  // O_NONBLOCK: opening a pipe would wait for a writer. It has no effect on files.
  FileDescriptor file = open_or_fail(path, O_RDONLY | O_NONBLOCK, "can't open");
  struct stat status {};
  if (fstat(file.get(), &status) != 0) {
    fail("can't look at", path);
  }
  if (!S_ISREG(status.st_mode)) {
    throw usage_error(fmt::format("{} is not a file", path.string()));
  }
  return file;
}

FileDescriptor create_file(const std::filesystem::path& path) {
  return open_or_fail(path, O_WRONLY | O_CREAT | O_TRUNC, "can't create");
}

FileDescriptor open_for_update(const std::filesystem::path& path) {
  return open_or_fail(path, O_WRONLY | O_CREAT, "can't open");
}

std::uint64_t file_size_bytes(const FileDescriptor& file, const std::filesystem::path& path) {
  struct stat status {};
  if (fstat(file.get(), &status) != 0) {
    fail("can't look at", path);
  }
  return static_cast<std::uint64_t>(status.st_size);
}

ReadOutcome try_read(const FileDescriptor& file, std::uint64_t offset, std::span<std::uint8_t> bytes) noexcept {
  ReadOutcome outcome;
  while (outcome.num_bytes < bytes.size()) {
    const std::span<std::uint8_t> rest = bytes.subspan(outcome.num_bytes);
    const ssize_t count = ::pread(file.get(), rest.data(), std::min(rest.size(), kLargestTransfer),
                                  static_cast<off_t>(offset + outcome.num_bytes));
    if (count > 0) {
      outcome.num_bytes += static_cast<std::size_t>(count);
    } else if (count == 0 || errno != EINTR) {
      outcome.reason = count == 0 ? kEndOfFile : errno;
      break;
    }
  }
  return outcome;
}

void read_exactly(const FileDescriptor& file, std::uint64_t offset, std::span<std::uint8_t> bytes,
                  const std::filesystem::path& path) {
  const auto [num_bytes, reason] = try_read(file, offset, bytes);
  if (reason == kEndOfFile) {
    throw Error(fmt::format("{} ends at byte {}, {} bytes too early", path.string(), offset + num_bytes,
                            bytes.size() - num_bytes),
                "the file was cut or is still being written");
  }
  if (reason != 0) {
    fail("can't read", path, reason);
  }
}

void write_all(const FileDescriptor& file, std::span<const std::uint8_t> bytes, const std::filesystem::path& path) {
  while (!bytes.empty()) {
    const ssize_t count = ::write(file.get(), bytes.data(), std::min(bytes.size(), kLargestTransfer));
    if (count < 0) {
      if (errno == EINTR) {
        continue;
      }
      fail("can't write", path);
    }
    bytes = bytes.subspan(static_cast<std::size_t>(count));
  }
}

void write_at(const FileDescriptor& file, std::uint64_t offset, std::span<const std::uint8_t> bytes,
              const std::filesystem::path& path) {
  while (!bytes.empty()) {
    const ssize_t count =
        ::pwrite(file.get(), bytes.data(), std::min(bytes.size(), kLargestTransfer), static_cast<off_t>(offset));
    if (count < 0) {
      if (errno == EINTR) {
        continue;
      }
      fail("can't write", path);
    }
    bytes = bytes.subspan(static_cast<std::size_t>(count));
    offset += static_cast<std::uint64_t>(count);
  }
}

void sync_file(const FileDescriptor& file, const std::filesystem::path& path) {
  const int reason = sync_retrying(file.get());
  if (is_unsupported(reason) && (::syncfs(file.get()) == 0 || is_unsupported(errno))) {
    warn_once("fsync", fmt::format("{} can't be synced ({}): what is written may reach the disk late",
                                   path.parent_path().string(), text_of(reason)));
  } else if (reason != 0) {
    fail("can't sync", path, reason);
  }
}

// The rules are those of PostgreSQL's fsync_fname_ext(), which is used on many file systems: EBADF and EINVAL for a
// folder are not failures, nor is a folder that can't be opened.
void sync_directory(const std::filesystem::path& directory) {
  const FileDescriptor folder(open_retrying(directory, O_RDONLY | O_DIRECTORY));
  int reason = folder.get() < 0 ? errno : 0;
  const bool can_not_open = reason == EACCES || reason == EPERM || reason == EISDIR || is_unsupported(reason);
  if (reason != 0 && !can_not_open) {
    fail("can't open", directory, reason);
  }
  if (reason == 0) {
    reason = sync_retrying(folder.get());
  }
  if (can_not_open || reason == EBADF || reason == EACCES || reason == EPERM || reason == EISDIR ||
      is_unsupported(reason)) {
    warn_once(
        "fsync of a folder",
        fmt::format("the folder {} can't be synced ({}): its files are, but their names may be lost in a power cut",
                    directory.string(), text_of(reason)));
  } else if (reason != 0) {
    fail("can't sync", directory, reason);
  }
}

std::string read_text_file(const std::filesystem::path& path) {
  const FileDescriptor file = open_for_reading(path);
  std::string text(file_size_bytes(file, path), '\0');
  read_exactly(file, 0, {reinterpret_cast<std::uint8_t*>(text.data()), text.size()}, path);
  return text;
}

std::optional<std::string> read_text_file_if_exists(const std::filesystem::path& path, std::uint64_t largest_bytes) {
  for (int attempt = 1;; ++attempt) {
    try {
      const FileDescriptor file = open_for_reading(path);
      const std::uint64_t size = file_size_bytes(file, path);
      if (size > largest_bytes) {
        return std::nullopt;
      }
      std::string text(size, '\0');
      read_exactly(file, 0, {reinterpret_cast<std::uint8_t*>(text.data()), text.size()}, path);
      return text;
    } catch (const FileError& error) {
      if (error.reason() == ENOENT) {
        return std::nullopt;
      }
      if (error.reason() != ESTALE || attempt == kReadAttempts) {
        throw;
      }
    }
    std::this_thread::sleep_for(kBetweenReadAttempts);
  }
}

void write_file_atomically(const std::filesystem::path& path, std::string_view content) {
  // Other writers of the same file, in other processes or on other machines, use other temporary names.
  std::filesystem::path temporary;
  FileDescriptor file;
  do {
    temporary = unfinished_path(path);
    file = FileDescriptor(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
  } while (file.get() < 0 && (errno == EINTR || errno == EEXIST));
  if (file.get() < 0) {
    fail("can't create", temporary);
  }
  try {
    write_all(file, {reinterpret_cast<const std::uint8_t*>(content.data()), content.size()}, temporary);
    sync_file(file, temporary);
    if (std::rename(temporary.c_str(), path.c_str()) != 0) {
      fail("can't replace", path);
    }
  } catch (const Error&) {
    ::unlink(temporary.c_str());
    throw;
  }
  sync_directory(path.has_parent_path() ? path.parent_path() : ".");
}

void remove_file(const std::filesystem::path& path) {
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) {
    fail("can't remove", path);
  }
}

void create_durable_directories(const std::filesystem::path& directory) {
  if (const int reason = make_directories(directory); reason != 0) {
    fail("can't create the folder", directory, reason);
  }
}

void create_writable_directory(const std::filesystem::path& directory) {
  if (const int reason = make_directories(directory); reason != 0) {
    throw usage_error(fmt::format("can't create the folder {}: {}", directory.string(), std::strerror(reason)),
                      "choose a folder that you can write to");
  }
  if (!std::filesystem::is_directory(directory)) {
    throw usage_error(fmt::format("{} is not a folder", directory.string()), "choose another place");
  }
  // access() does not detect read-only or full file systems: write something.
  const std::filesystem::path probe = directory / fmt::format(".tmp-probe-{}", ::getpid());
  try {
    const FileDescriptor file = create_file(probe);
    const std::array<std::uint8_t, 1> byte{};
    write_all(file, byte, probe);
  } catch (const Error& failure) {
    ::unlink(probe.c_str());
    throw usage_error(fmt::format("can't write into {} ({})", directory.string(), failure.what()), failure.hint());
  }
  ::unlink(probe.c_str());
}

DirectoryLock::DirectoryLock(const std::filesystem::path& directory, std::string_view who) {
  const std::filesystem::path path = directory / ".lock";
  file_ = open_or_fail(path, O_RDWR | O_CREAT, "can't open");
  int reason = EINTR;
  while (reason == EINTR) {
    reason = ::flock(file_.get(), LOCK_EX | LOCK_NB) == 0 ? 0 : errno;
  }
  if (reason == EWOULDBLOCK) {
    std::array<char, 256> holder{};
    ssize_t length = 0;
    for (int tries = 0; length <= 0 && tries < 20;
         ++tries) {  // a holder that has just started may not have written its name yet
      length = ::pread(file_.get(), holder.data(), holder.size() - 1, 0);
      if (length <= 0) {
        std::this_thread::sleep_for(std::chrono::milliseconds(50));
      }
    }
    throw usage_error(
        fmt::format("{} is in use by {}", directory.string(),
                    length > 0 ? std::string(holder.data(), static_cast<std::size_t>(length)) : "another process"),
        "wait for it to end, or choose another folder");
  }
  if (reason != 0) {  // Lustre without -o flock, NFS without lockd, and more errnos than can be listed
    warn_once("lock", fmt::format("{} can't be locked here ({}): make sure that no other program writes there",
                                  directory.string(), text_of(reason)));
    return;
  }
  if (::ftruncate(file_.get(), 0) != 0) {
    fail("can't write", path);
  }
  write_all(file_, {reinterpret_cast<const std::uint8_t*>(who.data()), who.size()}, path);
}

}  // namespace maskedkd
