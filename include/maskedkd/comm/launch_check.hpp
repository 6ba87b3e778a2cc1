// Whether MPI and the launcher agree on how many ranks there are: srun without a matching PMI silently starts N jobs of
// one rank, which would train N times the same thing into one directory.
#pragma once

#include <functional>
#include <string>

namespace maskedkd {

// Pure. environment(name): the variable's text, empty where unset. Throws Error (usage) where the process was started
// by srun (SLURM_PROCID and SLURM_STEP_ID are set and no Open MPI launcher stands in between) and SLURM_STEP_NUM_TASKS,
// or else SLURM_NTASKS, is another number than mpi_size. Inside an allocation mpiexec may start any number of ranks.
void check_launch(int mpi_size, const std::function<std::string(const char*)>& environment);

// Pure, for the time before MPI_Init, in which Open MPI without a PMI would end the process with a page of text. Throws
// Error (usage) where srun started this process as one of several and told it of no PMI, as srun --mpi=none does.
void check_launcher(const std::function<std::string(const char*)>& environment);

// Pure, for the time before MPI_Init: a line for the user of mpiexec inside a Slurm job, empty where there is nothing
// to say. mpiexec keeps the notice of preemption and of the time limit for itself.
std::string launcher_remark(const std::function<std::string(const char*)>& environment);

}  // namespace maskedkd
