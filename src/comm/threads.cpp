#include "maskedkd/comm/threads.hpp"

#include "host_name.hpp"
#include "maskedkd/comm/mpi_session.hpp"

#include <sched.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>

namespace maskedkd {
namespace {

// Cores that a cgroup's quota allows, or a large number where there is none.
double cgroup_cores() {
  std::ifstream v2("/sys/fs/cgroup/cpu.max");
  std::string quota;
  double period = 0;
  if (v2 >> quota >> period && quota != "max" && period > 0) {
    return std::stod(quota) / period;
  }
  std::ifstream v1_quota("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"), v1_period("/sys/fs/cgroup/cpu/cpu.cfs_period_us");
  double quota_us = 0;
  if (v1_quota >> quota_us && v1_period >> period && quota_us > 0 && period > 0) {
    return quota_us / period;
  }
  return 1e9;
}

int positive_environment(const char* name) {
  const char* text = std::getenv(name);
  return text != nullptr ? std::max(0, std::atoi(text)) : 0;
}

// The cores that this process may use, shared with the ranks that may use the same ones. Collective.
int cores_for_rank(const MpiSession& session) {
  cpu_set_t mask;
  CPU_ZERO(&mask);
  const int cores = sched_getaffinity(0, sizeof(mask), &mask) == 0 ? CPU_COUNT(&mask) : 1;
  // Ranks that are bound to cores of their own don't share them: all masks together hold more than one of them does.
  std::string bits;
  for (int core = 0; core < CPU_SETSIZE; ++core) {
    bits += CPU_ISSET(core, &mask) ? '1' : '0';
  }
  std::int64_t sharing = 0;
  const std::string key = host_name() + ' ' + bits;
  for (const std::string& other : session.all_gather(key)) {
    sharing += other == key;
  }
  const double quota = cgroup_cores() / session.local_size();
  const int own =
      static_cast<int>(std::min(static_cast<double>(cores) / static_cast<double>(sharing), std::floor(quota)));
  const int granted = positive_environment("SLURM_CPUS_PER_TASK");
  return std::max(1, granted > 0 ? std::min(own, granted) : own);
}

}  // namespace

int threads_for_rank(const MpiSession& session) {
  const int cores = cores_for_rank(session);
  const int asked = positive_environment("OMP_NUM_THREADS");
  return asked > 0 ? asked : cores;
}

int loader_threads_for_rank(const MpiSession& session, bool beside_a_gpu) {
  const int cores = cores_for_rank(session);
  return beside_a_gpu ? std::max(1, cores - 1) : std::min(2, cores);
}

}  // namespace maskedkd
