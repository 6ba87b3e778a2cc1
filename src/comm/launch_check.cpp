#include "maskedkd/comm/launch_check.hpp"

#include "maskedkd/base/error.hpp"

namespace maskedkd {

void check_launch(int mpi_size, const std::function<std::string(const char*)>& environment) {
  const bool in_step = !environment("SLURM_PROCID").empty() && !environment("SLURM_STEP_ID").empty();
  // mpiexec inside an allocation starts its daemons with srun; the ranks then carry Open MPI's own variables as well.
  // Open MPI 5 no longer names its daemon's address; there only a size above 1 proves that mpiexec was at work.
  const bool under_mpiexec = environment("OMPI_COMM_WORLD_SIZE") == std::to_string(mpi_size) &&
                             (mpi_size > 1 || !environment("OMPI_MCA_orte_hnp_uri").empty());
  if (!in_step || under_mpiexec) {
    return;
  }
  const std::string step_tasks = environment("SLURM_STEP_NUM_TASKS");
  const std::string tasks = step_tasks.empty() ? environment("SLURM_NTASKS") : step_tasks;
  if (!tasks.empty() && tasks != std::to_string(mpi_size)) {
    throw usage_error(
        fmt::format("Slurm started {} tasks, but MPI sees {} {}", tasks, mpi_size, mpi_size == 1 ? "rank" : "ranks"),
        "start with srun --mpi=pmix, and an Open MPI that was built with PMIx");
  }
}

}  // namespace maskedkd
