#include "maskedkd/checkpoint/lease.hpp"

#include "layout.hpp"
#include "lease_files.hpp"
#include "maskedkd/base/log.hpp"
#include "maskedkd/io/posix.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <condition_variable>
#include <cstdio>
#include <mutex>
#include <thread>
#include <utility>

namespace maskedkd {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr const char* kGone =
    "another start of this run has taken over its folder (or the run was moved, or .lease in it was removed)";
constexpr auto kPollInterval = std::chrono::milliseconds(200);
constexpr int kChecksBeforeLost = 5;  // one heartbeat apart

InUse in_use(std::string message) {
  return InUse(std::move(message), "wait for it to end, or choose another folder", ExitCode::usage);
}

// Whether a later try may succeed, or the call failed because another start has taken over.
bool is_temporary_or_taken_over(int reason) {
  return reason == EIO || reason == ENOSPC || reason == EDQUOT || reason == ENOENT || reason == ESTALE;
}

// Removes all of it, with retries, so that nobody can rename out of it any more.
void remove_completely(const fs::path& folder, std::chrono::milliseconds timeout) {
  const Clock::time_point end = Clock::now() + timeout;
  for (;;) {
    std::error_code error;
    fs::remove_all(folder, error);  // a missing folder is no error
    if (!error) {
      return;
    }
    if (Clock::now() > end) {
      throw Error(fmt::format("can't remove {}, which an earlier start of the run may still write through: {}",
                              folder.string(), error.message()),
                  "end the processes that hold files in it, then start again", ExitCode::requeue);
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
}

// Removes the folders of older generations completely.
void remove_older(const fs::path& leases, std::int64_t generation, std::chrono::milliseconds timeout) {
  std::error_code ignored;
  for (const std::string& name : names_of_leases(leases)) {
    const auto number = generation_of_name(name);
    if (number && *number < generation) {
      const fs::path away = leases / fmt::format(".taken-{}-by-{}", name, generation);
      fs::remove_all(away, ignored);
      if (std::rename((leases / name).c_str(), away.c_str()) != 0 && errno != ENOENT) {
        if (errno != EXDEV) {  // an overlay can't rename a folder of its lower layer
          throw FileError("can't take away", leases / name, errno);
        }
        remove_completely(leases / name, timeout);
      }
    }
  }
  // A network file system's client may still hold the folder's handle, so that the folder must go, not only its name.
  for (const std::string& name : names_of_leases(leases)) {
    // A start that is just beginning may become the next generation, and needs its folder.
    if (name.front() == '.' && claimed_generation(name).value_or(0) <= generation) {
      remove_completely(leases / name, timeout);
    }
  }
  sync_directory(leases);
}

// Returns where the owner of that folder is gone; waits where only its silence can show that. Throws InUse and Error.
void wait_for_end_of(const fs::path& folder, const LeaseOwner& me, const LeaseOptions& options,
                     const std::function<void(const std::string&)>& on_wait) {
  const std::optional<LeaseRecord> record = read_lease_record(folder);
  const std::string holder = record ? record->owner.describe() : "another process";
  const auto refuse = [&] {
    throw in_use(fmt::format("{} is in use by {}", folder.parent_path().parent_path().string(), holder));
  };
  const std::optional<std::string> before = read_beat(folder);
  if (record) {
    const LeaseOwner& owner = record->owner;
    const bool earlier_start = !owner.job.empty() && owner.job == me.job && owner.restarts < me.restarts;
    const Liveness liveness = liveness_of(owner);
    if (record->released || earlier_start || liveness == Liveness::dead) {
      return;
    }
    // A copied run's folder has a lease whose owner works on the original. A changed inode number alone is no proof of
    // a copy: some network file systems number a folder differently on each machine.
    const bool copied = record->run_folder != folder_identity(folder.parent_path().parent_path());
    if (liveness == Liveness::alive && !copied) {
      refuse();
    }
  }
  if (on_wait) {
    on_wait(fmt::format("waiting up to {} s for a sign of life of {}, which held this run last",
                        std::chrono::duration_cast<std::chrono::seconds>(options.timeout).count(), holder));
  }
  const Clock::time_point end = Clock::now() + options.timeout;
  while (Clock::now() < end) {
    std::this_thread::sleep_for(kPollInterval);
    if (options.give_up && options.give_up()) {
      throw Error(fmt::format("asked to stop while waiting for {}", folder.parent_path().parent_path().string()), "",
                  ExitCode::requeue);
    }
    if (read_beat(folder) != before) {
      refuse();
    }
  }
}

}  // namespace

struct Lease::Heartbeat {
  std::mutex mutex;
  std::condition_variable wake;
  bool stop = false;
  std::thread thread;
};

Lease::Lease(const fs::path& run, LeaseOwner owner, const LeaseOptions& options,
             const std::function<void(const std::string&)>& on_wait)
    : owner_(std::move(owner)), options_(options) {
  const fs::path leases = fs::absolute(run) / kLeaseFolder;
  create_writable_directory(leases);
  if (const std::int64_t newest = newest_generation(leases); newest > 0) {
    const fs::path before = leases / generation_name(newest);
    wait_for_end_of(before, owner_, options_, on_wait);
    if (const auto record = read_lease_record(before)) {
      previous_ = record->note;
    }
    generation_ = newest;
  }
  ++generation_;
  // Until write_note() says what this start resumes from, it counts as one that resumed from the same checkpoint as
  // the start before.
  note_.restarts_without_checkpoint = previous_.restarts_without_checkpoint;
  note_.resumed_from = previous_.resumed_from;
  run_folder_ = folder_identity(fs::absolute(run));
  // Filled before it gets its name, so that no generation is without an owner. rename() does not replace a folder that
  // is not empty.
  const auto taken = [&] { return in_use(fmt::format("{} has just been taken by another process", run.string())); };
  staging_folder_ = leases / claim_name(generation_);
  std::error_code ignored;
  try {
    create_writable_directory(staging_folder_);
    write_owner();
    write_beat(staging_folder_, 0);
  } catch (const std::exception&) {
    if (newest_generation(leases) >= generation_) {  // whoever was first removes the others' claims
      throw taken();
    }
    fs::remove_all(staging_folder_, ignored);
    throw;
  }
  const fs::path claimed = leases / generation_name(generation_);
  if (std::rename(staging_folder_.c_str(), claimed.c_str()) != 0) {
    const int reason = errno;
    fs::remove_all(staging_folder_, ignored);
    if (reason == EEXIST || reason == ENOTEMPTY || reason == ENOENT) {
      throw taken();
    }
    throw FileError("can't take", run, reason);
  }
  staging_folder_ = claimed;
  if (newest_generation(leases) != generation_) {
    fs::remove_all(staging_folder_, ignored);
    throw taken();
  }
  try {
    remove_older(leases, generation_, options_.timeout);
  } catch (const std::exception&) {
    release("");  // not removed: numbers must not be reused
    throw;
  }
}

Lease::~Lease() { release(""); }

void Lease::start_heartbeat(std::function<void(const Error&)> on_lost, std::function<void()> on_beat) {
  heartbeat_ = std::make_unique<Heartbeat>();
  heartbeat_->thread = std::thread([this, on_lost = std::move(on_lost), on_beat = std::move(on_beat)] {
    std::unique_lock lock(heartbeat_->mutex);
    for (std::int64_t beats = 1;; ++beats) {
      if (heartbeat_->wake.wait_for(lock, options_.heartbeat_interval, [&] { return heartbeat_->stop; })) {
        return;
      }
      try {
        write_beat(staging_folder_, beats);
        if (on_beat) {
          on_beat();
        }
      } catch (const std::exception&) {
        // A failing file system does not mean that another generation has taken over.
        try {
          check();
        } catch (const Fenced& lost) {
          lock.unlock();
          on_lost(lost);
          return;
        } catch (const std::exception&) {
        }
      }
    }
  });
}

void Lease::check() const {
  // A file server that comes back may not find existing files for some seconds, so a missing file proves that the lease
  // is lost only if a newer generation exists or the file stays missing.
  for (int checks = 1;; ++checks) {
    // Opened, because a network file system may answer stat() from its cache. Any other error proves nothing.
    int reason = EINTR;
    while (reason == EINTR) {
      const FileDescriptor beat(::open((staging_folder_ / kBeatName).c_str(), O_RDONLY | O_CLOEXEC));
      reason = beat.get() < 0 ? errno : 0;
    }
    if (reason != ENOENT && reason != ESTALE) {
      return;
    }
    if (newest_generation(staging_folder_.parent_path()) > generation_ || checks == kChecksBeforeLost) {
      throw Fenced(kGone, fmt::format("generation {} of it must not write there any more", generation_),
                   ExitCode::no_requeue);
    }
    std::this_thread::sleep_for(options_.heartbeat_interval);
  }
}

void Lease::fail(const std::string& what, const fs::path& path, int reason) const {
  if (reason == ENOENT || reason == ESTALE) {
    check();
  }
  throw FileError(what, path, reason, "checkpoints are untouched");
}

void Lease::put(const fs::path& made, const fs::path& place) const {
  std::error_code none;
  // rename() would silently replace an empty folder, which somebody may have made.
  if (fs::is_directory(fs::symlink_status(made, none)) && fs::exists(fs::symlink_status(place, none))) {
    throw Error(fmt::format("{} exists already", place.string()));
  }
  if (std::rename(made.c_str(), place.c_str()) != 0) {
    fail("can't write", place, errno);
  }
  sync_directory(place.parent_path());
}

void Lease::put_text(std::string_view text, const fs::path& place) const {
  const fs::path made = staging_folder_ / place.filename();
  try {
    write_file_atomically(made, text);
    put(made, place);
  } catch (const Error&) {
    std::error_code ignored;
    fs::remove(made, ignored);
    check();
    throw;
  }
}

void Lease::put_link(const fs::path& target, const fs::path& place) const {
  const fs::path made = staging_folder_ / place.filename();
  std::error_code error;
  fs::remove(made, error);
  fs::create_directory_symlink(target, made, error);
  if (error && !is_temporary_or_taken_over(error.value())) {  // file systems without links report various errnos
    warn_once("links", fmt::format("{} does not support links: {} is a text file that names its folder",
                                   place.parent_path().string(), place.string()));
    put_text(target.string() + "\n", place);
    return;
  }
  if (error) {
    fail("can't make a link for", place, error.value());
  }
  try {
    put(made, place);
  } catch (const Error&) {
    fs::remove(made, error);
    throw;
  }
}

void Lease::remove(const fs::path& place) const {
  const fs::path removed = staging_folder_ / fmt::format("removed-{}", place.filename().string());
  std::error_code error;
  fs::remove_all(removed, error);
  if (std::rename(place.c_str(), removed.c_str()) != 0) {
    const int reason = errno;
    check();
    if (reason == ENOENT) {
      return;
    }
    if (reason != EXDEV) {
      fail("can't remove", place, reason);
    }
    remove_from_lower_layer(place, removed);
  }
  sync_directory(place.parent_path());
  fs::remove_all(removed, error);
  if (error) {
    fail("can't remove", removed, error.value());
  }
}

// An overlay can't rename a folder of its lower layer, but it can rename files: without its manifest the folder stops
// being a checkpoint at once, and the rest can be removed file by file.
void Lease::remove_from_lower_layer(const fs::path& place, const fs::path& removed) const {
  std::error_code error;
  fs::create_directory(removed, error);
  if (error) {
    fail("can't make", removed, error.value());
  }
  const fs::path manifest = place / kManifestName;
  if (std::rename(manifest.c_str(), (removed / kManifestName).c_str()) != 0 && errno != ENOENT) {
    fail("can't remove", manifest, errno);
  }
  sync_directory(place);
  fs::remove_all(place, error);
  if (error) {
    fail("can't remove", place, error.value());
  }
}

void Lease::write_note(const LeaseNote& note) {
  note_ = note;
  write_owner();
}

void Lease::write_owner() const {
  try {
    write_file_atomically(staging_folder_ / kOwnerName, lease_record_text({owner_, note_, released_, run_folder_}));
  } catch (const Error&) {
    if (generation_name(generation_) == staging_folder_.filename()) {
      check();
    }
    throw;
  }
}

void Lease::release(const std::string& outcome) noexcept {
  if (released_) {
    return;
  }
  if (heartbeat_) {
    {
      const std::lock_guard lock(heartbeat_->mutex);
      heartbeat_->stop = true;
    }
    heartbeat_->wake.notify_one();
    heartbeat_->thread.join();
    heartbeat_.reset();
  }
  released_ = true;
  note_.ended = outcome;
  try {
    write_owner();
  } catch (const Error&) {
    // A full disk, or another start that holds the run: neither concerns this one any more.
  }
  std::error_code ignored;
  // Also where the disk is full: a lease without a heartbeat counts as ended.
  fs::remove(staging_folder_ / kBeatName, ignored);
}

}  // namespace maskedkd
