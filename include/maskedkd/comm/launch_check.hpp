// Checks that MPI and the launcher agree on the number of ranks: without a matching PMI, srun silently starts N jobs of
// one rank, which would all do the same training and write into one folder.
#pragma once

#include <functional>
#include <string>
#include <vector>

namespace maskedkd {

// Pure. environment(name): the variable's text, empty where unset. Throws Error (usage) where srun started this process
// (SLURM_PROCID and SLURM_STEP_ID are set, and Open MPI's mpiexec did not start it) and SLURM_STEP_NUM_TASKS, or
// else SLURM_NTASKS, differs from mpi_size. Inside an allocation mpiexec may start any number of ranks.
void check_num_ranks(int mpi_size, const std::function<std::string(const char*)>& environment);

// Pure. Called before MPI_Init, in which Open MPI without a PMI would end the process with a page of text. Throws Error
// (usage) where srun started this process as one of several without a PMI, as srun --mpi=none does.
void check_pmi(const std::function<std::string(const char*)>& environment);

// Pure. Called before MPI_Init. A warning for mpiexec in a Slurm job, which hides Slurm's notices from the ranks; or
// empty.
std::string mpiexec_warning(const std::function<std::string(const char*)>& environment);

// A variable set by a launcher (an mpiexec, PRRTE, PALS, ALPS, jsrun, flux or torchrun).
struct LaunchSign {
  std::string variable;
  int num_processes = 0;
};

// Pure. Called before MPI_Init, which sets such variables itself. Empty where Open MPI's mpiexec started one process.
std::vector<LaunchSign> launch_signs(const std::function<std::string(const char*)>& environment);

// Pure. Throws Error (usage) where MPI sees one process but a sign shows several: the launcher belongs to another MPI,
// and every process would do all the work and write the same files. mpiexec: this MPI's launcher, empty: unknown.
void check_foreign_launcher(int mpi_size, const std::vector<LaunchSign>& signs, const std::string& mpiexec);

}  // namespace maskedkd
