// Owns MPI: initialises it, holds this process's ranks, exchanges small values and text between ranks (control plane,
// host memory), and ends the job. Tensors are sent through comm/communicator.hpp.
#pragma once

#include "maskedkd/base/activity.hpp"

#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace maskedkd {

class MpiSession {
 public:
  // Collective. Initialises MPI (MPI_THREAD_FUNNELED: only the main thread calls it). Throws Error (usage) where the
  // launcher and MPI disagree on the number of ranks (comm/launch_check.hpp).
  MpiSession(int& argc, char**& argv);
  MpiSession(const MpiSession&) = delete;
  MpiSession& operator=(const MpiSession&) = delete;
  ~MpiSession();  // calls MPI_Finalize

  int rank() const noexcept { return rank_; }
  int size() const noexcept { return size_; }
  int local_rank() const noexcept { return local_rank_; }  // among the ranks of this node (shared memory)
  int local_size() const noexcept { return local_size_; }

  // What this rank's main thread is doing, for the watchdog.
  const Activity& activity() const noexcept { return activity_; }

  // This rank's device, for messages about its failure: "GPU 3 (0000:4F:00.0) of node17". Empty on CPUs.
  void set_device_name(std::string name) const { device_name_ = std::move(name); }
  const std::string& device_name() const noexcept { return device_name_; }

  // Limits how long MPI_Finalize may wait for the other ranks; the process then ends with ExitCode::requeue.
  void set_finalize_timeout(double seconds) const noexcept { finalize_timeout_s_ = seconds; }

  // All collective; all throw Error.
  void barrier() const;
  bool any(bool mine) const;  // whether `mine` is true on any rank
  // Concatenates the values of all ranks: [size * values.size()]. Every rank passes the same number of values.
  std::vector<double> all_gather(std::span<const double> values) const;
  std::vector<std::string> all_gather(const std::string& text) const;  // by rank; together at most 256 MiB
  std::string broadcast(const std::string& text, int root = 0) const;  // returns the root's text

  // Ends every rank of the job with this exit code, at once.
  [[noreturn]] void abort(int exit_code) const noexcept;

 private:
  Activity activity_;
  mutable std::string device_name_;
  mutable double finalize_timeout_s_ = 0;  // 0: no limit
  int rank_ = 0;
  int size_ = 1;
  int local_rank_ = 0;
  int local_size_ = 1;
};

}  // namespace maskedkd
