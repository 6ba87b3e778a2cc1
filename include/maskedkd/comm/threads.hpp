// How many CPU threads a rank may use. For every program, those without tensors too.
#pragma once

namespace maskedkd {

class MpiSession;

// CPU threads for this rank: the cores this process may use (affinity, cgroup quota) shared by the node's ranks, >= 1.
int threads_for_rank(const MpiSession& session);

}  // namespace maskedkd
