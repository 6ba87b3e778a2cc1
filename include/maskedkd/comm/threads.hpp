// How many CPU threads a rank may use. For every program, those without tensors too.
#pragma once

namespace maskedkd {

class MpiSession;

// The cores that this process may use (affinity, cgroup quota, SLURM_CPUS_PER_TASK), shared with the ranks of the node
// that may use the same ones, >= 1. For threads that no OpenMP starts. Collective.
int cores_for_rank(const MpiSession& session);

// CPU threads for this rank's tensors: OMP_NUM_THREADS where it is set, else those cores. Collective.
int threads_for_rank(const MpiSession& session);

// Threads that load data for this rank: beside a GPU all those cores but one, which drives it; beside a CPU that trains
// on them, at most 2. OMP_NUM_THREADS does not count here.
int loader_threads_for_rank(const MpiSession& session, bool beside_a_gpu);

}  // namespace maskedkd
