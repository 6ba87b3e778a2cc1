// CPU time that control groups grant, which may be less than the cores in a process's affinity mask.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace maskedkd {

// This process's control group below the hierarchy's root, "/slurm/job_7/task_0"; "/" with v1, or where it is outside.
std::string own_cgroup();

// Cores that the process in `own` may use: at each level the quota is divided by the number of processes below it, and
// the smallest result counts. Very large where no quota is set. groups: of all processes that share, including `own`.
double cgroup_cores(const std::filesystem::path& root, const std::string& own, const std::vector<std::string>& groups);

}  // namespace maskedkd
