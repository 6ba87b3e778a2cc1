// The one owner of MPI: initialises it, knows this process's place, carries the few numbers and lines that ranks tell
// each other (control plane, host memory, doubles and text), ends the job. Tensors travel through
// comm/communicator.hpp.
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
  // Collective. Initialises MPI (MPI_THREAD_FUNNELED: only the main thread talks). Throws Error (usage) where the size
  // disagrees with SLURM_NTASKS / SLURM_STEP_NUM_TASKS inside a job step: srun without a matching PMI starts N jobs of
  // one rank. Also where another MPI's launcher started several processes and this MPI sees one.
  MpiSession(int& argc, char**& argv);
  MpiSession(const MpiSession&) = delete;
  MpiSession& operator=(const MpiSession&) = delete;
  ~MpiSession();  // MPI_Finalize, unless an abort is under way

  int rank() const noexcept { return rank_; }
  int size() const noexcept { return size_; }
  int local_rank() const noexcept { return local_rank_; }  // among the ranks of this node (shared memory)
  int local_size() const noexcept { return local_size_; }

  // What this rank's main thread is doing, for a watchdog.
  const Activity& activity() const noexcept { return activity_; }

  // What this rank computes on, for the line that tells of its failure: "GPU 3 (0000:4F:00.0) of node17". Empty: CPUs.
  void set_device_name(std::string name) const { device_name_ = std::move(name); }
  const std::string& device_name() const noexcept { return device_name_; }

  // MPI_Finalize waits for all ranks; where that takes so long, the process ends with ExitCode::requeue instead.
  void end_within(double seconds) const noexcept { end_within_s_ = seconds; }

  // All collective; all throw Error.
  void barrier() const;
  bool any(bool mine) const;  // whether some rank says so
  // values of every rank, rank by rank: [size * values.size()]; the same count on every rank.
  std::vector<double> all_gather(std::span<const double> values) const;
  std::vector<std::string> all_gather(const std::string& text) const;
  std::string broadcast(const std::string& text, int root = 0) const;  // text of the root

  // Ends every rank of the job with this code, at once. Does not return.
  [[noreturn]] void abort(int exit_code) const noexcept;

 private:
  Activity activity_;
  mutable std::string device_name_;
  mutable double end_within_s_ = 0;  // 0: however long it takes
  int rank_ = 0;
  int size_ = 1;
  int local_rank_ = 0;
  int local_size_ = 1;
};

}  // namespace maskedkd
