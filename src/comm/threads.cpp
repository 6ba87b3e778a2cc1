#include "maskedkd/comm/threads.hpp"

#include "cgroup.hpp"
#include "maskedkd/base/environment.hpp"
#include "maskedkd/base/host_name.hpp"
#include "maskedkd/comm/mpi_session.hpp"

#include <sched.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <string>
#include <vector>

namespace maskedkd {
namespace {

int positive_environment(const char* name) { return std::max(0, std::atoi(environment_variable(name).c_str())); }

}  // namespace

int cores_for_rank(const MpiSession& session) {
  cpu_set_t mask;
  CPU_ZERO(&mask);
  const int cores = sched_getaffinity(0, sizeof(mask), &mask) == 0 ? CPU_COUNT(&mask) : 1;
  std::string bits;
  for (int core = 0; core < CPU_SETSIZE; ++core) {
    bits += CPU_ISSET(core, &mask) ? '1' : '0';
  }
  const std::string host = host_name() + ' ', own_group = own_cgroup();
  const std::string key = host + bits + ' ';
  std::int64_t sharing = 0;
  std::vector<std::string> groups;  // of the ranks on this node
  for (const std::string& other : session.all_gather(key + own_group)) {
    // Ranks that are bound to different cores don't share them.
    sharing += other.starts_with(key) ? 1 : 0;
    if (other.starts_with(host)) {
      groups.push_back(other.substr(key.size()));
    }
  }
  const double quota = cgroup_cores("/sys/fs/cgroup", own_group, groups);
  const int own =
      static_cast<int>(std::min(static_cast<double>(cores) / static_cast<double>(sharing), std::floor(quota)));
  const int granted = positive_environment("SLURM_CPUS_PER_TASK");
  return std::max(1, granted > 0 ? std::min(own, granted) : own);
}

int threads_for_rank(const MpiSession& session) {
  const int cores = cores_for_rank(session);
  const int requested = positive_environment("OMP_NUM_THREADS");
  return requested > 0 ? requested : cores;
}

int loader_threads_for_rank(const MpiSession& session, bool beside_a_gpu) {
  const int cores = cores_for_rank(session);
  return beside_a_gpu ? std::max(1, cores - 1) : std::min(2, cores);
}

}  // namespace maskedkd
