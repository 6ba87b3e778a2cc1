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
constexpr std::chrono::milliseconds kPollInterval{500};  // for copies that other ranks have finished
constexpr std::chrono::minutes kOthersTimeout{10};       // without a new copy; then no more are awaited

struct Capacity {
  double total_bytes, free_bytes;
};

// nullopt where the file system does not report it.
std::optional<Capacity> capacity_of(const std::filesystem::path& directory) {
  struct statfs status {};
  if (::statfs(directory.c_str(), &status) != 0) {
    return std::nullopt;
  }
  if (status.f_blocks > 0) {
    const double block = static_cast<double>(status.f_frsize > 0 ? status.f_frsize : status.f_bsize);
    return Capacity{static_cast<double>(status.f_blocks) * block, static_cast<double>(status.f_bavail) * block};
  }
  // A ramfs and a tmpfs without a limit can use all of the memory.
  if (status.f_type == RAMFS_MAGIC || status.f_type == TMPFS_MAGIC) {
    const double page = static_cast<double>(::sysconf(_SC_PAGESIZE));
    return Capacity{static_cast<double>(::sysconf(_SC_PHYS_PAGES)) * page,
                    static_cast<double>(::sysconf(_SC_AVPHYS_PAGES)) * page};
  }
  return std::nullopt;
}

// num_bytes: of all shards that the node's ranks may be copying at this moment. A file system that does not report its
// capacity is tried: when it is full, copying ends with an error.
bool fits(const std::filesystem::path& directory, std::uint64_t num_bytes, double leave_free) {
  const std::optional<Capacity> capacity = capacity_of(directory);
  return !capacity || capacity->free_bytes - static_cast<double>(num_bytes) >= capacity->total_bytes * leave_free;
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
  std::vector<bool> is_staged;  // of each shard; used by the copying thread only
  std::thread thread;

  State(const ShardSet& shards, StagingOptions how)
      : set(shards),
        options(std::move(how)),
        // One for each user: in a shared /tmp, the folder of another user can't be written to.
        directory(options.directory / fmt::format("maskedkd-{}-{}", ::getuid(), shards.set_id().substr(0, 16))),
        is_staged(shards.num_shards(), false) {
    progress.num_shards = shards.num_shards();
  }

  bool must_stop() const {
    const std::lock_guard lock(mutex);
    return stopping;
  }

  std::filesystem::path copy_of(std::size_t shard) const { return directory / set.shard(shard).name; }

  // Reads the shard from its copy from now on, if there is a complete one.
  bool use_copy(std::size_t shard) {
    std::error_code error;
    if (std::filesystem::file_size(copy_of(shard), error) != set.shard(shard).size_bytes || error) {
      return false;
    }
    set.use_copy(shard, copy_of(shard));
    is_staged[shard] = true;
    const std::lock_guard lock(mutex);
    ++progress.num_staged;
    return true;
  }

  // The same for a copy that an earlier run left, which may have been damaged since: it is verified before it is used,
  // and removed if it is damaged. Throws Error.
  bool use_old_copy(std::size_t shard) {
    std::error_code error;
    if (!std::filesystem::exists(copy_of(shard), error)) {
      return false;
    }
    if (sha256_of_file(copy_of(shard)) != set.shard(shard).sha256) {
      std::filesystem::remove(copy_of(shard), error);
      return false;
    }
    return use_copy(shard);
  }

  // Returns false where it was stopped. Throws Error.
  bool copy(std::size_t shard) {
    const ShardIndexEntry& entry = set.shard(shard);
    const std::filesystem::path temporary = unfinished_path(copy_of(shard));
    bool is_intact = false;
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
      is_intact = digest.hex_digest() == entry.sha256;
      if (is_intact && std::rename(temporary.c_str(), copy_of(shard).c_str()) != 0) {
        throw FileError("can't rename", temporary, errno);
      }
    } catch (const Error&) {
      ::unlink(temporary.c_str());
      throw;
    }
    if (!is_intact) {
      ::unlink(temporary.c_str());
      spdlog::warn(
          "{} has another SHA-256 than when it was packed and is not copied: check it with maskedkd_pack verify",
          (set.directory() / entry.name).string());
      return true;
    }
    {
      const std::lock_guard lock(mutex);
      progress.bytes_copied += entry.size_bytes;
    }
    use_copy(shard);
    return true;
  }

  void copy_assigned() {
    for (auto shard = static_cast<std::size_t>(options.local_rank); shard < is_staged.size();
         shard += static_cast<std::size_t>(options.local_size)) {
      if (must_stop()) {
        return;
      }
      use_copies_of_others();
      if (use_old_copy(shard)) {
        continue;
      }
      if (!fits(directory, set.shard(shard).size_bytes * static_cast<std::uint64_t>(options.local_size),
                options.leave_free)) {
        spdlog::warn(
            "{} has space for only {} of {} shards with {:.0f} % left free: the others are read from the original set",
            directory.string(), progress.num_staged, is_staged.size(), 100 * options.leave_free);
        return;
      }
      if (!copy(shard)) {
        return;
      }
    }
  }

  // Uses the copies that other ranks have finished. Returns how many of theirs are still missing.
  std::size_t use_copies_of_others() {
    std::size_t num_missing = 0;
    for (std::size_t shard = 0; shard < is_staged.size(); ++shard) {
      const bool is_own = static_cast<int>(shard % static_cast<std::size_t>(options.local_size)) == options.local_rank;
      if (!is_own && !is_staged[shard] && !use_copy(shard)) {
        ++num_missing;
      }
    }
    return num_missing;
  }

  void await_others() {
    std::size_t num_missing = is_staged.size();
    for (auto last_copy = Clock::now(); Clock::now() - last_copy < kOthersTimeout;) {
      if (const std::size_t still_missing = use_copies_of_others(); still_missing < num_missing) {
        num_missing = still_missing;
        last_copy = Clock::now();
      }
      std::unique_lock lock(mutex);
      if (num_missing == 0 || ending.wait_for(lock, kPollInterval, [&] { return stopping; })) {
        return;
      }
    }
  }

  void run() {
    const auto began = Clock::now();
    try {
      sweep_abandoned(directory);
      copy_assigned();
      await_others();
    } catch (const std::exception& error) {
      spdlog::warn("copying shards to {} has ended: {}; the others are read from the original set", directory.string(),
                   error.what());
    }
    const std::lock_guard lock(mutex);
    progress.finished = true;
    if (options.local_rank == 0 && !stopping) {
      spdlog::info("{} of {} shards are read from {}, after {:.0f} s", progress.num_staged, progress.num_shards,
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
