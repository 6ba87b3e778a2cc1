#include "maskedkd/comm/core_binding.hpp"

#include "maskedkd/base/environment.hpp"
#include "maskedkd/base/host_name.hpp"
#include "maskedkd/base/log.hpp"
#include "maskedkd/comm/mpi_session.hpp"

#include <nlohmann/json.hpp>

#include <sched.h>

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <map>
#include <set>

namespace maskedkd {
namespace {

// The largest number of ranks that can have one core each: a maximum matching, by augmenting paths.
int ranks_with_a_core(const std::vector<RankCores>& ranks) {
  std::map<int, std::size_t> owner;  // core -> index of a rank
  std::set<int> seen;
  const std::function<bool(std::size_t)> find_core = [&](std::size_t rank) {
    for (const int core : ranks[rank].allowed) {
      if (!seen.insert(core).second) {
        continue;
      }
      const auto taken = owner.find(core);
      if (taken == owner.end() || find_core(taken->second)) {
        owner[core] = rank;
        return true;
      }
    }
    return false;
  };
  int matched = 0;
  for (std::size_t rank = 0; rank < ranks.size(); ++rank) {
    seen.clear();
    matched += find_core(rank) ? 1 : 0;
  }
  return matched;
}

std::string list(const std::vector<int>& numbers) {
  constexpr std::size_t kShown = 16;
  const std::vector<int> shown(numbers.begin(),
                               numbers.begin() + static_cast<std::ptrdiff_t>(std::min(numbers.size(), kShown)));
  return fmt::format("{}{}", fmt::join(shown, ", "), numbers.size() > kShown ? ", ..." : "");
}

std::vector<int> confined_to(const std::vector<int>& cores, const std::vector<RankCores>& ranks) {
  std::vector<int> confined;
  for (const RankCores& rank : ranks) {
    if (std::includes(cores.begin(), cores.end(), rank.allowed.begin(), rank.allowed.end())) {
      confined.push_back(rank.rank);
    }
  }
  return confined;
}

std::string describe(const std::vector<RankCores>& ranks, int available, const std::string& remedy) {
  const std::vector<int>* cores = nullptr;
  std::vector<int> crowded;
  for (const RankCores& rank : ranks) {
    const std::vector<int> confined = confined_to(rank.allowed, ranks);
    if (confined.size() > rank.allowed.size() && (cores == nullptr || rank.allowed.size() < cores->size())) {
      cores = &rank.allowed;
      crowded = confined;
    }
  }
  const std::string which =
      cores == nullptr ? fmt::format("the {} ranks on {} may run on too few cores", ranks.size(), ranks[0].host)
                       : fmt::format("ranks {} on {} may only run on core{} {}", list(crowded), ranks[0].host,
                                     cores->size() == 1 ? "" : "s", list(*cores));
  return fmt::format("{}, although the job could use {} cores there: they slow each other down; {}", which, available,
                     remedy);
}

std::vector<int> cores_in(const cpu_set_t& mask) {
  std::vector<int> cores;
  for (int core = 0; core < CPU_SETSIZE; ++core) {
    if (CPU_ISSET(core, &mask)) {
      cores.push_back(core);
    }
  }
  return cores;
}

// The kernel restricts every mask to the cores of the cgroup, so asking for all cores shows which the job could use.
int available_cores(const cpu_set_t& mask) {
  cpu_set_t all, reachable = mask;
  CPU_ZERO(&all);
  for (int core = 0; core < CPU_SETSIZE; ++core) {
    CPU_SET(core, &all);
  }
  if (sched_setaffinity(0, sizeof(all), &all) == 0) {
    sched_getaffinity(0, sizeof(reachable), &reachable);
    sched_setaffinity(0, sizeof(mask), &mask);
  }
  const int granted = std::atoi(environment_variable("SLURM_CPUS_ON_NODE").c_str());
  const int cores = CPU_COUNT(&reachable);
  return granted > 0 ? std::min(cores, granted) : cores;
}

std::string suggest_remedy() {
  if (!environment_variable("OMPI_COMM_WORLD_SIZE").empty() && !environment_variable("OMPI_MCA_orte_hnp_uri").empty()) {
    return "start mpiexec with --bind-to none, from a shell that is not bound itself (see taskset -p $$)";
  }
  return environment_variable("SLURM_STEP_ID").empty()
             ? "start them from a shell that is not bound (see taskset -p $$)"
             : "`unset SLURM_CPU_BIND` in the shell that starts srun, or start with srun --cpu-bind=cores";
}

}  // namespace

std::vector<std::string> crowded_cores(const std::vector<RankCores>& ranks, const std::string& remedy) {
  std::map<std::string, std::vector<RankCores>> hosts;
  for (const RankCores& rank : ranks) {
    hosts[rank.host].push_back(rank);
  }
  std::vector<std::string> lines;
  for (const auto& [host, host_ranks] : hosts) {
    int available = 0;
    for (const RankCores& rank : host_ranks) {
      available = std::max(available, rank.available);
    }
    if (ranks_with_a_core(host_ranks) < std::min(static_cast<int>(host_ranks.size()), available)) {
      lines.push_back(describe(host_ranks, available, remedy));
    }
  }
  return lines;
}

void warn_of_crowded_cores(const MpiSession& session) {
  cpu_set_t mask;
  CPU_ZERO(&mask);
  nlohmann::json mine = {{"host", host_name()}, {"allowed", std::vector<int>()}, {"available", 0}};
  if (session.local_size() > 1 && sched_getaffinity(0, sizeof(mask), &mask) == 0) {
    mine["allowed"] = cores_in(mask);
    mine["available"] = available_cores(mask);
  }
  std::vector<RankCores> ranks;
  for (const std::string& text : session.all_gather(mine.dump())) {
    const nlohmann::json other = nlohmann::json::parse(text);
    ranks.push_back({static_cast<int>(ranks.size()), other["host"], other["allowed"], other["available"]});
  }
  if (session.rank() == 0) {
    for (const std::string& line : crowded_cores(ranks, suggest_remedy())) {
      spdlog::warn("{}", line);
    }
  }
}

}  // namespace maskedkd
