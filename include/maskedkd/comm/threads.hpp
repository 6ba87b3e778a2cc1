// How many CPU threads a rank may use. For every program, those without tensors too.
#pragma once

namespace maskedkd {

class MpiSession;

// CPU threads for this rank: the cores this process may use (affinity, cgroup quota) shared by the node's ranks, >= 1.
int threads_for_rank(const MpiSession& session);

// Threads that load data for this rank: beside a GPU all those cores but one, which drives it; beside a CPU that trains
// on them, at most 2. OMP_NUM_THREADS does not count here.
int loader_threads_for_rank(const MpiSession& session, bool beside_a_gpu);

}  // namespace maskedkd
