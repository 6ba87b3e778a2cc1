// How many CPU threads a rank may use, also in programs without tensors.
#pragma once

namespace maskedkd {

class MpiSession;

// Collective. The cores that this process may use (affinity, cgroup quota, SLURM_CPUS_PER_TASK), divided among the
// ranks of the node that may use the same ones, >= 1. For threads that OpenMP does not start.
int cores_for_rank(const MpiSession& session);

// Collective. CPU threads for this rank's tensors: OMP_NUM_THREADS where it is set, else cores_for_rank().
int threads_for_rank(const MpiSession& session);

// Collective. Threads that load data for this rank: beside a GPU all cores but one, which drives the GPU; beside a CPU,
// on which training needs the cores, at most 2. Ignores OMP_NUM_THREADS.
int loader_threads_for_rank(const MpiSession& session, bool beside_a_gpu);

}  // namespace maskedkd
