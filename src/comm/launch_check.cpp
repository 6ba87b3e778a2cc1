#include "maskedkd/comm/launch_check.hpp"

#include "maskedkd/base/error.hpp"

#include <algorithm>
#include <array>

namespace maskedkd {
namespace {

using Environment = std::function<std::string(const char*)>;

constexpr const char* kHint = "start with srun --mpi=pmix, and an Open MPI that was built with PMIx";

bool in_step(const Environment& environment) {
  return !environment("SLURM_PROCID").empty() && !environment("SLURM_STEP_ID").empty();
}

std::string num_tasks(const Environment& environment) {
  const std::string of_step = environment("SLURM_STEP_NUM_TASKS");
  return of_step.empty() ? environment("SLURM_NTASKS") : of_step;
}

}  // namespace

void check_launcher(const Environment& environment) {
  const std::string tasks = num_tasks(environment);
  // PMIx, PMI-1 and PMI-2, mpiexec.
  constexpr std::array kSigns = {"PMIX_RANK", "PMI_RANK", "PMI_FD", "PMI_JOBID", "OMPI_COMM_WORLD_SIZE"};
  const bool has_pmi =
      std::any_of(kSigns.begin(), kSigns.end(), [&](const char* name) { return !environment(name).empty(); });
  if (in_step(environment) && !has_pmi && !tasks.empty() && tasks != "1") {
    throw usage_error(fmt::format("Slurm started {} tasks, but no MPI between them", tasks), kHint);
  }
}

std::string launcher_remark(const Environment& environment) {
  const bool under_mpiexec =
      !environment("OMPI_MCA_orte_hnp_uri").empty() || !environment("OMPI_COMM_WORLD_SIZE").empty();
  return under_mpiexec && !environment("SLURM_JOB_ID").empty()
             ? "mpiexec inside a Slurm job keeps the notice of preemption from the ranks: start with srun --mpi=pmix"
             : "";
}

void check_launch(int mpi_size, const Environment& environment) {
  // mpiexec inside an allocation starts its daemons with srun; the ranks then carry Open MPI's own variables as well.
  // Open MPI 5 no longer names its daemon's address; there only a size above 1 proves that mpiexec was at work.
  const bool under_mpiexec = environment("OMPI_COMM_WORLD_SIZE") == std::to_string(mpi_size) &&
                             (mpi_size > 1 || !environment("OMPI_MCA_orte_hnp_uri").empty());
  if (!in_step(environment) || under_mpiexec) {
    return;
  }
  const std::string tasks = num_tasks(environment);
  if (!tasks.empty() && tasks != std::to_string(mpi_size)) {
    throw usage_error(
        fmt::format("Slurm started {} tasks, but MPI sees {} {}", tasks, mpi_size, mpi_size == 1 ? "rank" : "ranks"),
        kHint);
  }
}

}  // namespace maskedkd
