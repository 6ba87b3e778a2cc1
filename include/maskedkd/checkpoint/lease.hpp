// Who may write into a run's folder: one process at a time, the newest. A cluster may declare a job's node lost and
// start the job again elsewhere while the old processes still run behind a dead link; when the link comes back, they
// must not write into the folder any more. No lock of a network file system guarantees that. This does, and needs only
// mkdir and rename to be atomic:
//
//   <run>/.lease/000000007/           the folder of generation 7: whoever created it holds the run
//   <run>/.lease/000000007/owner.json   who that is, and how it ended
//   <run>/.lease/000000007/beat         a number that grows while that process lives; removed at release
//
// Everything that appears in the run or leaves it is renamed out of, or into, that folder. The next generation first
// makes its own folder, then renames the older ones away and removes them, whole, before it goes on; from then on each
// rename of an old process fails because its folder is gone, whatever it had checked before. One process of a run, rank
// 0's, holds the lease; the other ranks write into its folder by its path, and are shut out with it.
#pragma once

#include "maskedkd/base/error.hpp"
#include "maskedkd/base/process.hpp"

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace maskedkd {

// Another generation has the run: this process must end, and not be started again.
class Fenced : public Error {
 public:
  using Error::Error;
};

// A living process has the run (usage).
class InUse : public Error {
 public:
  using Error::Error;
};

struct LeaseOwner : ProcessIdentity {
  std::string program;        // for messages
  std::string job;            // of the cluster; empty: none
  std::int64_t restarts = 0;  // of that job so far
  std::string describe() const;
};

// This process, with the job and its restarts as Slurm's environment has them.
LeaseOwner this_process(std::string program);

struct LeaseOptions {
  // How long an owner whose process can't be checked (base/process.hpp) may write no heartbeat before it counts as
  // dead.
  std::chrono::milliseconds timeout = std::chrono::seconds(20);
  std::chrono::milliseconds heartbeat_interval = std::chrono::seconds(2);
  std::function<bool()> give_up = {};  // called while waiting; true ends the wait with an Error (requeue)
};

// What an owner leaves in owner.json for the next generation.
struct LeaseNote {
  std::string ended;                    // the argument of release(); empty: it was killed, or still runs
  std::string resumed_from;             // a checkpoint; empty: it began the run, or ended before
  int restarts_without_checkpoint = 0;  // automatic restarts in a row that brought no new checkpoint
};

class Lease {
 public:
  // Acquires the run and creates missing folders. At once where nobody holds it, where the owner's process is certainly
  // dead, or where it is an earlier start of the same job; where that can't be known, after `timeout` without a
  // heartbeat. Throws InUse naming the owner where it lives, and Error where the folder can't be read or written.
  // on_wait: gets one line that says why it takes long.
  Lease(const std::filesystem::path& run, LeaseOwner owner, const LeaseOptions& options = {},
        const std::function<void(const std::string&)>& on_wait = {});
  Lease(const Lease&) = delete;
  Lease& operator=(const Lease&) = delete;
  ~Lease();  // as release("")

  std::int64_t generation() const noexcept { return generation_; }
  const LeaseOwner& owner() const noexcept { return owner_; }
  const LeaseNote& previous() const noexcept { return previous_; }  // of the generation before
  // The folder where files are written before they are moved into the run; on the run's file system.
  const std::filesystem::path& staging_folder() const noexcept { return staging_folder_; }

  // Starts a thread that writes the heartbeat, and calls on_lost once where another generation has taken over; on_lost
  // must end the process. on_beat: called by that thread after each heartbeat; its exceptions are ignored.
  void start_heartbeat(std::function<void(const Error&)> on_lost, std::function<void()> on_beat = {});
  // Throws Fenced where another generation has taken over.
  void check() const;

  // Moves a file or folder from the staging folder to its place in the run, a folder only where nothing exists; syncs
  // both folders. Throws Fenced and Error.
  void put(const std::filesystem::path& made, const std::filesystem::path& place) const;
  void put_text(std::string_view text, const std::filesystem::path& place) const;  // a file, synced
  // A link, or where the file system has none, a text file with the target's name.
  void put_link(const std::filesystem::path& target, const std::filesystem::path& place) const;
  // Moves it into the staging folder, then removes it; does nothing where it does not exist. A folder in an overlay's
  // lower layer, which can't be renamed, loses its manifest first. Throws as put().
  void remove(const std::filesystem::path& place) const;

  void write_note(const LeaseNote& note);
  // Ends the lease: the next generation need not wait. outcome: "finished", "stopped", "failed", ...
  void release(const std::string& outcome) noexcept;

 private:
  struct Heartbeat;
  void write_owner() const;
  void remove_from_lower_layer(const std::filesystem::path& place, const std::filesystem::path& removed) const;
  [[noreturn]] void fail(const std::string& what, const std::filesystem::path& path, int reason) const;

  std::filesystem::path staging_folder_;
  LeaseOwner owner_;
  LeaseOptions options_;
  std::string run_folder_;
  LeaseNote previous_, note_;
  std::int64_t generation_ = 0;
  bool released_ = false;
  std::unique_ptr<Heartbeat> heartbeat_;
};

}  // namespace maskedkd
