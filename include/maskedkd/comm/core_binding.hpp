// Whether the launcher has bound several ranks of a node to the same cores while others of the node stay idle. Such a
// job runs, at half of its speed or less, and nothing else shows it: the usual cause is a variable that srun inherits
// from an interactive step (SLURM_CPU_BIND). Programs call it once, when the ranks know each other.
#pragma once

#include <string>
#include <vector>

namespace maskedkd {

class MpiSession;

struct RankCores {
  int rank = 0;
  std::string host;
  std::vector<int> allowed;  // the cores on which this rank may run, ascending
  int available = 0;         // how many of the node's cores the job could use if no rank were bound
};

// Pure. A line for each host on which the ranks together can keep fewer cores busy than min(ranks, available); it names
// the smallest set of cores that more ranks are confined to than it has cores. No line for ranks that are not bound,
// nor where a node has fewer cores than ranks and all of them can be used. remedy: the end of the line.
std::vector<std::string> crowded_cores(const std::vector<RankCores>& ranks, const std::string& remedy);

// Collective. Rank 0 logs those lines as warnings.
void warn_of_crowded_cores(const MpiSession& session);

}  // namespace maskedkd
