#include "maskedkd/shards/staging.hpp"

#include "maskedkd/base/log.hpp"
#include "maskedkd/io/digest.hpp"
#include "maskedkd/io/posix.hpp"
#include "maskedkd/io/unfinished.hpp"

#include <linux/magic.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

namespace maskedkd {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kPieceBytes = std::size_t{4} << 20;
constexpr std::chrono::milliseconds kLookAgain{500};     // for what other ranks have finished
constexpr std::chrono::minutes kLongestWithoutNews{10};  // then another rank's copies are no longer awaited

struct Room {
  double all_bytes, free_bytes;
};

// Nothing: that file system does not say.
std::optional<Room> room_in(const std::filesystem::path& directory) {
  struct statfs status {};
  if (::statfs(directory.c_str(), &status) != 0) {
    return std::nullopt;
  }
  if (status.f_blocks > 0) {
    const double block = static_cast<double>(status.f_frsize > 0 ? status.f_frsize : status.f_bsize);
    return Room{static_cast<double>(status.f_blocks) * block, static_cast<double>(status.f_bavail) * block};
  }
  // A tmpfs without a limit and a ramfs take memory until there is none.
  if (status.f_type == RAMFS_MAGIC || status.f_type == TMPFS_MAGIC) {
    const double page = static_cast<double>(::sysconf(_SC_PAGESIZE));
    return Room{static_cast<double>(::sysconf(_SC_PHYS_PAGES)) * page,
                static_cast<double>(::sysconf(_SC_AVPHYS_PAGES)) * page};
  }
  return std::nullopt;
}

// num_bytes: of everything that the node's ranks may be copying at this moment. A file system that does not say what
// room it has is tried: a full one ends the copying.
bool fits(const std::filesystem::path& directory, std::uint64_t num_bytes, double leave_free) {
  const std::optional<Room> room = room_in(directory);
  return !room || room->free_bytes - static_cast<double>(num_bytes) >= room->all_bytes * leave_free;
}

}  // namespace

void StagingOptions::validate() const {
  if (!(leave_free >= 0 && leave_free < 1)) {
    throw usage_error(fmt::format("--stage-leave-free {} must lie in [0, 1)", leave_free));
  }
}

struct Staging::State {
  const ShardSet& set;
  const StagingOptions options;
  const std::filesystem::path directory;

  mutable std::mutex mutex;
  std::condition_variable ending;
  bool stopping = false;
  Progress progress;
  std::vector<bool> near;  // of this thread alone
  std::thread thread;

  State(const ShardSet& shards, StagingOptions how)
      : set(shards),
        options(std::move(how)),
        // Of this user: in a /tmp that all share another one's can't be written.
        directory(options.directory / fmt::format("maskedkd-{}-{}", ::getuid(), shards.set_id().substr(0, 16))),
        near(shards.num_shards(), false) {
    progress.num_shards = shards.num_shards();
  }

  bool must_stop() const {
    const std::lock_guard lock(mutex);
    return stopping;
  }

  std::filesystem::path copy_of(std::size_t shard) const { return directory / set.shard(shard).name; }

  // Reads the shard from its copy where there is one that is whole.
  bool take(std::size_t shard) {
    std::error_code error;
    if (std::filesystem::file_size(copy_of(shard), error) != set.shard(shard).size_bytes || error) {
      return false;
    }
    set.use_copy(shard, copy_of(shard));
    near[shard] = true;
    const std::lock_guard lock(mutex);
    ++progress.num_near;
    return true;
  }

  // A copy that is already there may be of another day: its bytes are compared once more before it is used. Throws
  // Error.
  bool take_old(std::size_t shard) {
    std::error_code error;
    if (!std::filesystem::exists(copy_of(shard), error)) {
      return false;
    }
    const std::string& expected = set.shard(shard).sha256;  // empty in an old index: the records' checksums are left
    if (!expected.empty() && sha256_of_file(copy_of(shard)) != expected) {
      std::filesystem::remove(copy_of(shard), error);
      return false;
    }
    return take(shard);
  }

  // false: the process ends. Throws Error.
  bool copy(std::size_t shard) {
    const ShardIndexEntry& entry = set.shard(shard);
    const std::filesystem::path temporary = unfinished_path(copy_of(shard));
    bool whole = false;
    try {
      const FileDescriptor file = create_file(temporary);
      Sha256 digest;
      std::vector<std::uint8_t> piece;
      for (std::uint64_t offset = 0; offset < entry.size_bytes; offset += piece.size()) {
        if (must_stop()) {
          std::filesystem::remove(temporary);
          return false;
        }
        piece.resize(std::min<std::uint64_t>(kPieceBytes, entry.size_bytes - offset));
        set.read_bytes(shard, offset, piece);
        digest.update(piece);
        write_all(file, piece, temporary);
      }
      whole = entry.sha256.empty() || digest.hex_digest() == entry.sha256;
      if (whole && std::rename(temporary.c_str(), copy_of(shard).c_str()) != 0) {
        throw FileError("can't rename", temporary, errno);
      }
    } catch (const Error&) {
      ::unlink(temporary.c_str());
      throw;
    }
    if (!whole) {
      ::unlink(temporary.c_str());
      spdlog::warn(
          "{} has another SHA-256 than when it was packed, and is not copied: check it with maskedkd_pack verify",
          (set.directory() / entry.name).string());
      return true;
    }
    {
      const std::lock_guard lock(mutex);
      progress.bytes_copied += entry.size_bytes;
    }
    take(shard);
    return true;
  }

  void copy_own() {
    for (auto shard = static_cast<std::size_t>(options.local_rank); shard < near.size();
         shard += static_cast<std::size_t>(options.local_size)) {
      if (must_stop()) {
        return;
      }
      take_from_others();
      if (take_old(shard)) {
        continue;
      }
      if (!fits(directory, set.shard(shard).size_bytes * static_cast<std::uint64_t>(options.local_size),
                options.leave_free)) {
        spdlog::warn(
            "{} has no room for more than {} of {} shards with {:.0f} % left free: the others are read where they are",
            directory.string(), progress.num_near, near.size(), 100 * options.leave_free);
        return;
      }
      if (!copy(shard)) {
        return;
      }
    }
  }

  // Whatever the other ranks have finished meanwhile. Returns how many are still missing.
  std::size_t take_from_others() {
    std::size_t num_missing = 0;
    for (std::size_t shard = 0; shard < near.size(); ++shard) {
      const bool is_own = static_cast<int>(shard % static_cast<std::size_t>(options.local_size)) == options.local_rank;
      if (!is_own && !near[shard] && !take(shard)) {
        ++num_missing;
      }
    }
    return num_missing;
  }

  void await_others() {
    std::size_t num_missing = near.size();
    for (auto last_news = Clock::now(); Clock::now() - last_news < kLongestWithoutNews;) {
      if (const std::size_t now = take_from_others(); now < num_missing) {
        num_missing = now;
        last_news = Clock::now();
      }
      std::unique_lock lock(mutex);
      if (num_missing == 0 || ending.wait_for(lock, kLookAgain, [&] { return stopping; })) {
        return;
      }
    }
  }

  void run() {
    const auto began = Clock::now();
    try {
      sweep_abandoned(directory);
      copy_own();
      await_others();
    } catch (const std::exception& error) {
      spdlog::warn("copying shards to {} ends: {}; the others are read where they are", directory.string(),
                   error.what());
    }
    const std::lock_guard lock(mutex);
    progress.finished = true;
    if (options.local_rank == 0 && !stopping) {
      spdlog::info("{} of {} shards are read from {}, after {:.0f} s", progress.num_near, progress.num_shards,
                   directory.string(), std::chrono::duration<double>(Clock::now() - began).count());
    }
  }
};

Staging::Staging(const ShardSet& set, StagingOptions options) {
  options.validate();
  state_ = std::make_unique<State>(set, std::move(options));
  create_writable_directory(state_->directory);
  state_->thread = std::thread([state = state_.get()] { state->run(); });
}

Staging::~Staging() {
  {
    const std::lock_guard lock(state_->mutex);
    state_->stopping = true;
  }
  state_->ending.notify_all();
  state_->thread.join();
}

Staging::Progress Staging::progress() const {
  const std::lock_guard lock(state_->mutex);
  return state_->progress;
}

}  // namespace maskedkd
