#include "maskedkd/comm/launch_check.hpp"

#include "maskedkd/base/error.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>

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

// Variables of launchers that contain the number of processes, or the number of this process among them.
constexpr std::array kSizes = {
    "PMI_SIZE",  "MPI_LOCALNRANKS", "MV2_COMM_WORLD_SIZE", "MVP_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_SIZE",
    "PALS_SIZE", "PALS_LOCAL_SIZE", "JSM_NAMESPACE_SIZE",  "FLUX_JOB_SIZE",       "MPI_NRANKS",
    "MPISIZE"};
constexpr std::array kRanks = {"PMI_RANK",   "MPI_LOCALRANKID", "MV2_COMM_WORLD_RANK", "MVP_COMM_WORLD_RANK",
                               "PMIX_RANK",  "PALS_RANKID",     "ALPS_APP_PE",         "JSM_NAMESPACE_RANK",
                               "MPI_RANKID", "MPIRANK"};

std::optional<int> number_in(const Environment& environment, const char* name) {
  const std::string text = environment(name);
  int number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc() && end == text.data() + text.size() ? std::optional(number) : std::nullopt;
}

}  // namespace

void check_pmi(const Environment& environment) {
  const std::string tasks = num_tasks(environment);
  // Set by PMIx, by PMI-1 and PMI-2, and by mpiexec.
  constexpr std::array kSigns = {"PMIX_RANK", "PMI_RANK", "PMI_FD", "PMI_JOBID", "OMPI_COMM_WORLD_SIZE"};
  const bool has_pmi =
      std::any_of(kSigns.begin(), kSigns.end(), [&](const char* name) { return !environment(name).empty(); });
  if (in_step(environment) && !has_pmi && !tasks.empty() && tasks != "1") {
    throw usage_error(fmt::format("Slurm started {} tasks, but no PMI connects them", tasks), kHint);
  }
}

std::string mpiexec_warning(const Environment& environment) {
  const bool under_mpiexec =
      !environment("OMPI_MCA_orte_hnp_uri").empty() || !environment("OMPI_COMM_WORLD_SIZE").empty();
  return under_mpiexec && !environment("SLURM_JOB_ID").empty()
             ? "mpiexec inside a Slurm job hides the notice of preemption from the ranks: start with srun --mpi=pmix"
             : "";
}

void check_num_ranks(int mpi_size, const Environment& environment) {
  // Inside an allocation mpiexec starts its daemons with srun, so the ranks have Open MPI's own variables as well. Open
  // MPI 5 no longer sets its daemon's address; there only a size above 1 proves that mpiexec started them.
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

std::vector<LaunchSign> launch_signs(const Environment& environment) {
  std::vector<LaunchSign> signs;
  if (number_in(environment, "OMPI_COMM_WORLD_SIZE") == 1) {
    return signs;
  }
  for (const char* name : kSizes) {
    signs.push_back({name, number_in(environment, name).value_or(0)});
  }
  for (const char* name : kRanks) {
    signs.push_back({name, number_in(environment, name).value_or(-1) + 1});
  }
  if (!environment("TORCHELASTIC_RUN_ID").empty()) {  // WORLD_SIZE by itself has other uses too
    signs.push_back({"WORLD_SIZE", number_in(environment, "WORLD_SIZE").value_or(0)});
  }
  std::erase_if(signs, [](const LaunchSign& sign) { return sign.num_processes < 2; });
  return signs;
}

void check_foreign_launcher(int mpi_size, const std::vector<LaunchSign>& signs, const std::string& mpiexec) {
  if (mpi_size != 1 || signs.empty()) {
    return;
  }
  int num_processes = 0;
  std::string names;
  for (const LaunchSign& sign : signs) {
    num_processes = std::max(num_processes, sign.num_processes);
    names += (names.empty() ? "" : " ") + sign.variable;
  }
  throw usage_error(
      fmt::format("{} processes were started, but MPI sees 1 ({})", num_processes, names),
      fmt::format("the launcher belongs to another MPI: start with {}; or, if this is one process in a shell that "
                  "inherited these variables, unset {}",
                  mpiexec.empty() ? "the mpiexec of the MPI that this program was built with" : mpiexec, names));
}

}  // namespace maskedkd
