#include "shard_files.hpp"

#include "maskedkd/base/error.hpp"
#include "maskedkd/base/log.hpp"

#include <fcntl.h>
#include <sys/resource.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>

namespace maskedkd {
namespace {

constexpr int kMostTries = 7;
constexpr std::chrono::milliseconds kFirstPause{100};  // doubled each time: 6.3 s in total

// The errors of a network file system whose server is unreachable for a while, or that has replaced the file.
bool may_pass(int reason) {
  constexpr std::array kPassing = {EIO,        ETIMEDOUT, ESTALE,      EAGAIN,   EREMOTEIO,
                                   ECONNRESET, ENETDOWN,  ENETUNREACH, EHOSTDOWN};
  return std::find(kPassing.begin(), kPassing.end(), reason) != kPassing.end();
}

// A large set has more shards than the usual soft limit of 1024 descriptors.
std::size_t descriptors_for(std::size_t num_files) {
  rlimit limit{};
  constexpr rlim_t kElsewhere = 512;  // left to libraries, sockets and GPUs
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) {
    return num_files;
  }
  if (limit.rlim_cur < num_files + kElsewhere) {
    limit.rlim_cur = std::min<rlim_t>(limit.rlim_max, std::max<rlim_t>(limit.rlim_cur, num_files + kElsewhere));
    setrlimit(RLIMIT_NOFILE, &limit);
  }
  return limit.rlim_cur > 2 * kElsewhere ? static_cast<std::size_t>(limit.rlim_cur - kElsewhere)
                                         : static_cast<std::size_t>(std::max<rlim_t>(limit.rlim_cur / 2, 1));
}

}  // namespace

ShardFiles::ShardFiles(std::vector<std::filesystem::path> paths, std::size_t most_open)
    : most_open_(most_open > 0 ? most_open : descriptors_for(paths.size())), slots_(paths.size()) {
  for (std::size_t i = 0; i < paths.size(); ++i) {
    slots_[i].path = std::move(paths[i]);
  }
}

std::filesystem::path ShardFiles::path(std::size_t file) const {
  const std::lock_guard lock(mutex_);
  return slots_.at(file).path;
}

void ShardFiles::move(std::size_t file, const std::filesystem::path& path) {
  const std::lock_guard lock(mutex_);
  Slot& slot = slots_.at(file);
  slot.path = path;
  num_open_ -= slot.file ? 1 : 0;
  slot.file.reset();
}

std::size_t ShardFiles::num_open() const {
  const std::lock_guard lock(mutex_);
  return num_open_;
}

std::shared_ptr<const ShardFiles::OpenFile> ShardFiles::open(std::size_t file, int& reason) const {
  std::unique_lock lock(mutex_);
  for (;;) {
    Slot& slot = slots_.at(file);
    slot.last_used = ++clock_;
    if (slot.file) {
      return slot.file;
    }
    const std::filesystem::path path = slot.path;
    lock.unlock();  // other threads continue to read while this one waits for a server
    FileDescriptor descriptor(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    reason = descriptor.get() < 0 ? errno : 0;
    if (reason == EINTR) {
      lock.lock();
      continue;
    }
    if (reason == EMFILE || reason == ENFILE) {  // other parts of the process use the descriptors
      lock.lock();
      if (close_oldest(nullptr)) {
        most_open_ = std::max<std::size_t>(num_open_, 1);
        continue;
      }
    }
    if (reason != 0) {
      return nullptr;
    }
    auto opened = std::make_shared<const OpenFile>(OpenFile{std::move(descriptor), path});
    lock.lock();
    if (slot.file || slot.path != path) {
      continue;  // meanwhile another thread has opened the file, or it has moved
    }
    slot.file = std::move(opened);
    ++num_open_;
    if (num_open_ > most_open_) {
      close_oldest(&slot);
    }
    return slot.file;
  }
}

bool ShardFiles::close_oldest(const Slot* but) const {
  Slot* oldest = nullptr;
  for (Slot& other : slots_) {
    if (other.file && &other != but && (oldest == nullptr || other.last_used < oldest->last_used)) {
      oldest = &other;
    }
  }
  if (oldest == nullptr) {
    return false;
  }
  oldest->file.reset();  // closed when its last reader has finished
  --num_open_;
  return true;
}

void ShardFiles::close(std::size_t file, const std::shared_ptr<const OpenFile>& opened) const {
  const std::lock_guard lock(mutex_);
  if (slots_[file].file == opened) {
    slots_[file].file.reset();
    --num_open_;
  }
}

void ShardFiles::read(std::size_t file, std::uint64_t offset, std::span<std::uint8_t> bytes, bool& ends_early) const {
  ends_early = false;
  for (int tries = 1;; ++tries) {
    int reason = 0;
    std::size_t num_bytes = 0;
    const std::shared_ptr<const OpenFile> opened = open(file, reason);
    if (opened) {
      const ReadOutcome outcome = try_read(opened->descriptor, offset, bytes);
      num_bytes = outcome.num_bytes;
      reason = outcome.reason;
    }
    if (reason == 0) {
      return;
    }
    const std::string name = opened ? opened->path.string() : path(file).string();
    if (reason == kEndOfFile) {
      ends_early = true;
      throw Error(
          fmt::format("{} ends at byte {}, {} bytes too early", name, offset + num_bytes, bytes.size() - num_bytes),
          "the file was cut while it was in use");
    }
    if (opened) {
      close(file, opened);
    }
    if (!may_pass(reason) || tries == kMostTries) {
      throw Error(fmt::format("can't read {}: {}{}", name, std::strerror(reason),
                              tries > 1 ? fmt::format(", {} times in a row", tries) : ""),
                  hint_for_errno(reason).empty() ? "check that file system; an interrupted training run can be resumed"
                                                 : hint_for_errno(reason));
    }
    if (!has_warned_.exchange(true)) {
      spdlog::warn("reading {} failed ({}): trying again; later failures are retried without a warning", name,
                   std::strerror(reason));
    }
    std::this_thread::sleep_for(kFirstPause * (1 << (tries - 1)));
  }
}

void ShardFiles::will_need(std::size_t file, std::uint64_t offset, std::uint64_t num_bytes) const {
  std::shared_ptr<const OpenFile> opened;
  {
    const std::lock_guard lock(mutex_);
    opened = slots_.at(file).file;
  }
  if (opened) {
    ::posix_fadvise(opened->descriptor.get(), static_cast<off_t>(offset), static_cast<off_t>(num_bytes),
                    POSIX_FADV_WILLNEED);
  }
}

}  // namespace maskedkd
