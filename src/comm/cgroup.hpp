// CPU time that control groups grant, which may be less than the cores that a process may run on.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace maskedkd {

// This process's group below the hierarchy's root, "/slurm/job_7/task_0"; "/" where there is none (v1) or it lies
// outside of what is mounted here.
std::string own_cgroup();

// Cores that `own` may use, shared at each level with the processes whose groups lie below it: the smallest of quota /
// processes on the way up. A large number where no quota is set. groups: of all processes that share, with `own`
// itself.
double cgroup_cores(const std::filesystem::path& root, const std::string& own, const std::vector<std::string>& groups);

}  // namespace maskedkd
