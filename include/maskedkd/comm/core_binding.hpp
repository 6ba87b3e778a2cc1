// Detects a launcher that binds several ranks of a node to the same cores while other cores stay idle. Such a job runs
// at half of its speed or less without any other symptom; the usual cause is a variable that srun inherits from an
// interactive step (SLURM_CPU_BIND). Programs call it once, after MPI has started.
#pragma once

#include <string>
#include <vector>

namespace maskedkd {

class MpiSession;

struct RankCores {
  int rank = 0;
  std::string host;
  std::vector<int> allowed;  // the cores on which this rank may run, ascending
  int available = 0;         // cores of the node that the job could use if no rank were bound
};

// Pure. One line for each host on which the ranks together can keep fewer than min(ranks, available) cores busy. It
// names the smallest set of cores to which more ranks are confined than it has cores. No line for ranks that are not
// bound, nor where a node has fewer cores than ranks and all can be used. remedy: advice that ends the line.
std::vector<std::string> crowded_cores(const std::vector<RankCores>& ranks, const std::string& remedy);

// Collective. Rank 0 logs these lines as warnings.
void warn_of_crowded_cores(const MpiSession& session);

}  // namespace maskedkd
