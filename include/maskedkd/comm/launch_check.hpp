// Whether MPI and the launcher agree on how many ranks there are: srun without a matching PMI silently starts N jobs of
// one rank, which would train N times the same thing into one directory.
#pragma once

#include <functional>
#include <string>
#include <vector>

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

// A variable by which a launcher (mpiexec of MPICH, Intel MPI, MVAPICH or Open MPI, PRRTE, PALS, ALPS, jsrun, flux,
// torchrun) says that it started at least so many processes.
struct LaunchSign {
  std::string variable;
  int num_processes = 0;
};

// Pure, for the time before MPI_Init, which sets such variables itself. Empty where Open MPI's own mpiexec started this
// process as the only one.
std::vector<LaunchSign> launch_signs(const std::function<std::string(const char*)>& environment);

// Pure. Throws Error (usage) where MPI sees this process alone and a sign tells of several: the launcher belongs to
// another MPI, and each process would do the whole work, into the same files. mpiexec: the path of the launcher that
// belongs to this MPI, empty where it is not known.
void check_other_launcher(int mpi_size, const std::vector<LaunchSign>& signs, const std::string& mpiexec);

}  // namespace maskedkd
