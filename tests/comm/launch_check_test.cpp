// Environments of Slurm 22.05 with Open MPI 4.1 and 5, MPICH 4 and 5 and Intel MPI 2021.
#include "maskedkd/comm/launch_check.hpp"

#include "maskedkd/base/error.hpp"

#include <gtest/gtest.h>

#include <map>
#include <sstream>

namespace maskedkd {
namespace {

using Environment = std::map<std::string, std::string>;

auto reader(const Environment& environment) {
  return [&environment](const char* name) {
    const auto entry = environment.find(name);
    return entry == environment.end() ? std::string() : entry->second;
  };
}

void check(int mpi_size, const Environment& environment) { check_num_ranks(mpi_size, reader(environment)); }

Environment step(const std::string& tasks) {
  return {{"SLURM_JOB_ID", "7"},  {"SLURM_NTASKS", tasks},         {"SLURM_PROCID", "0"},
          {"SLURM_STEP_ID", "0"}, {"SLURM_STEP_NUM_TASKS", tasks}, {"SLURM_LOCALID", "0"}};
}

Environment with(Environment environment, const Environment& more) {
  environment.insert(more.begin(), more.end());
  return environment;
}

void expect_refused(int mpi_size, const Environment& environment, const std::string& tasks) {
  try {
    check(mpi_size, environment);
    FAIL() << "not refused";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::usage);
    const std::string message = error.what();
    EXPECT_NE(message.find(fmt::format("{} tasks", tasks)), std::string::npos) << message;
    EXPECT_NE(message.find(fmt::format("MPI sees {} {}", mpi_size, mpi_size == 1 ? "rank" : "ranks")),
              std::string::npos);
    EXPECT_NE(error.hint().find("srun --mpi=pmix"), std::string::npos) << error.hint();
  }
}

TEST(LaunchCheck, PlainStartAndPlainMpiexecAreFine) {
  for (const int size : {1, 2, 64}) {
    EXPECT_NO_THROW(check(size, {}));
    EXPECT_NO_THROW(
        check(size, {{"OMPI_COMM_WORLD_SIZE", std::to_string(size)}, {"OMPI_MCA_orte_hnp_uri", "1.0;tcp"}}));
  }
}

TEST(LaunchCheck, SrunWithPmixIsFine) {
  for (const int size : {1, 2, 16}) {
    EXPECT_NO_THROW(check(size, step(std::to_string(size))));
  }
}

TEST(LaunchCheck, SrunWithoutPmiStartsRanksOfOneAndIsRefused) {
  expect_refused(1, step("4"), "4");
  expect_refused(1, step("2"), "2");
  expect_refused(2, step("8"), "8");
  // Variables that Open MPI 4.1 sets in a process without launcher must not pass for a launcher.
  expect_refused(1, with(step("4"), {{"OMPI_MCA_ess", "singleton"}, {"OMPI_MCA_orte_ess_num_procs", "1"}}), "4");
}

TEST(LaunchCheck, AStepOfFewerTasksThanTheAllocationIsCountedAlone) {
  Environment environment = step("2");
  environment.insert_or_assign("SLURM_NTASKS", std::string("8"));
  EXPECT_NO_THROW(check(2, environment));
  expect_refused(8, environment, "2");
}

TEST(LaunchCheck, WithoutTheStepsCountTheJobsCountIsUsed) {
  Environment environment = step("4");
  environment.erase("SLURM_STEP_NUM_TASKS");
  EXPECT_NO_THROW(check(4, environment));
  expect_refused(1, environment, "4");
}

// A batch script has SLURM_NTASKS and SLURM_PROCID, but is no step: a single program may run in it.
TEST(LaunchCheck, ABatchScriptsOwnProcessIsFine) {
  Environment environment = step("8");
  environment.erase("SLURM_STEP_ID");
  environment.erase("SLURM_STEP_NUM_TASKS");
  EXPECT_NO_THROW(check(1, environment));
}

// mpiexec inside an allocation starts one daemon per node through srun; its ranks inherit the daemon's step.
TEST(LaunchCheck, MpiexecInAnAllocationMayStartAnyNumber) {
  for (const int size : {1, 2, 8}) {
    const std::string text = std::to_string(size);
    EXPECT_NO_THROW(
        check(size, with(step("3"), {{"OMPI_COMM_WORLD_SIZE", text}, {"OMPI_MCA_orte_hnp_uri", "1.0;tcp"}})));
  }
}

// Open MPI 5 has other variables for its daemons, but the same one for the size.
TEST(LaunchCheck, MpiexecOfOpenMpi5InAnAllocationIsFine) {
  EXPECT_NO_THROW(check(8, with(step("2"), {{"OMPI_COMM_WORLD_SIZE", "8"}, {"PMIX_SERVER_URI41", "prterun-a-1@0"}})));
}

// A size of 1 alone does not prove a launcher: a process without launcher may have that variable too.
TEST(LaunchCheck, ASizeOfOneWithoutADaemonDoesNotProveALauncher) {
  expect_refused(1, with(step("4"), {{"OMPI_COMM_WORLD_SIZE", "1"}}), "4");
}

// Variables of an outer mpiexec, for example one that started the container, do not prove a launcher of srun's ranks.
TEST(LaunchCheck, ALauncherOfAnotherSizeDoesNotProveOne) {
  expect_refused(1, with(step("4"), {{"OMPI_COMM_WORLD_SIZE", "4"}, {"OMPI_MCA_orte_hnp_uri", "1.0;tcp"}}), "4");
}

// srun --mpi=none sets no variable of PMI; MPI_Init would print a page and exit with 1.
TEST(Launcher, SrunWithoutPmiIsRefusedBeforeMpiStarts) {
  const Environment none = step("2");
  try {
    check_pmi(reader(none));
    FAIL() << "not refused";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::usage);
    EXPECT_STREQ(error.what(), "Slurm started 2 tasks, but no PMI connects them");
    EXPECT_NE(error.hint().find("srun --mpi=pmix"), std::string::npos) << error.hint();
  }
}

TEST(Launcher, EveryPmiAndASingleTaskAreAccepted) {
  for (const char* sign : {"PMIX_RANK", "PMI_RANK", "PMI_FD", "OMPI_COMM_WORLD_SIZE"}) {
    const Environment known = with(step("2"), {{sign, "0"}});
    EXPECT_NO_THROW(check_pmi(reader(known))) << sign;
  }
  for (const Environment& fine : {Environment{}, step("1")}) {
    EXPECT_NO_THROW(check_pmi(reader(fine)));
  }
}

TEST(Launcher, MpiexecInsideAJobGivesARemark) {
  const Environment mpiexec = {{"OMPI_COMM_WORLD_SIZE", "2"}, {"OMPI_MCA_orte_hnp_uri", "1.0;tcp"}};
  EXPECT_EQ(mpiexec_warning(reader(mpiexec)), "");
  const Environment job = with(mpiexec, {{"SLURM_JOB_ID", "7"}});
  EXPECT_NE(mpiexec_warning(reader(job)).find("srun --mpi=pmix"), std::string::npos);
  const Environment srun = with(step("2"), {{"PMIX_RANK", "0"}});
  EXPECT_EQ(mpiexec_warning(reader(srun)), "");
}

// Recorded from the second process of `mpiexec -n 2 env` of each MPI.
const std::map<std::string, Environment> kOtherLaunchers = {
    {"MPICH 5.0.2, mpiexec.hydra",
     {{"HYDI_CONTROL_FD", "7"},
      {"MPI_LOCALNRANKS", "2"},
      {"MPI_LOCALRANKID", "1"},
      {"PMI_FD", "11"},
      {"PMI_HOSTNAME", "node1"},
      {"PMI_RANK", "1"},
      {"PMI_SIZE", "2"}}},
    {"MPICH 5.0.2, mpiexec.gforker",
     {{"MPI_APPNUM", "0"},
      {"MPI_UNIVERSE_SIZE", "-1"},
      {"PMI_DEBUG", "0"},
      {"PMI_FD", "12"},
      {"PMI_RANK", "1"},
      {"PMI_SIZE", "2"}}},
    {"Intel MPI 2021.19",
     {{"HYDRA_BSTRAP_LOCALHOST", "node1"},
      {"I_MPI_INFO_NP", "1"},
      {"MPI_LOCALNRANKS", "2"},
      {"MPI_LOCALRANKID", "1"},
      {"PMI_FD", "11"},
      {"PMI_RANK", "1"},
      {"PMI_SIZE", "2"}}},
    {"Open MPI 5.0.11",
     {{"OMPI_COMM_WORLD_LOCAL_RANK", "1"},
      {"OMPI_COMM_WORLD_RANK", "1"},
      {"OMPI_COMM_WORLD_SIZE", "2"},
      {"PMIX_NAMESPACE", "prterun-node1-24929@1"},
      {"PMIX_RANK", "1"},
      {"PRTE_LAUNCHED", "1"}}},
};

std::string refusal(int mpi_size, const Environment& environment, const std::string& mpiexec = {}) {
  try {
    check_foreign_launcher(mpi_size, launch_signs(reader(environment)), mpiexec);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::usage);
    return fmt::format("{}; {}", error.what(), error.hint());
  }
  return "";
}

TEST(OtherLauncher, ProcessesThatAreNotConnectedAreRefused) {
  for (const auto& [name, environment] : kOtherLaunchers) {
    const std::string refused = refusal(1, environment, "/usr/bin/orterun");
    EXPECT_EQ(refused.find("2 processes were started, but MPI sees 1 ("), 0U) << name << ": " << refused;
    EXPECT_NE(refused.find("start with /usr/bin/orterun"), std::string::npos) << name << ": " << refused;
    EXPECT_EQ(refusal(2, environment), "") << name << ": its PMI connects the ranks";
  }
}

// Launchers whose variables are documented, but were not recorded.
TEST(OtherLauncher, TheSizeOrRankOfOtherLaunchersIsDetected) {
  for (const char* size : {"MV2_COMM_WORLD_SIZE", "MVP_COMM_WORLD_SIZE", "JSM_NAMESPACE_SIZE", "FLUX_JOB_SIZE"}) {
    EXPECT_EQ(refusal(1, {{size, "4"}}).find("4 processes were started, but MPI sees 1"), 0U) << size;
  }
  for (const char* rank : {"PMIX_RANK", "PALS_RANKID", "ALPS_APP_PE"}) {
    EXPECT_EQ(refusal(1, {{rank, "3"}}).find("4 processes were started, but MPI sees 1"), 0U) << rank;
  }
  EXPECT_EQ(refusal(1, {{"WORLD_SIZE", "8"}, {"RANK", "0"}}), "") << "not only torchrun sets it";
  EXPECT_NE(refusal(1, {{"WORLD_SIZE", "8"}, {"RANK", "0"}, {"TORCHELASTIC_RUN_ID", "none"}}), "");
}

TEST(OtherLauncher, OneProcessIsFineWhateverItInherited) {
  EXPECT_EQ(refusal(1, {}), "");
  EXPECT_EQ(refusal(1, {{"PMI_SIZE", "1"}, {"PMI_RANK", "0"}, {"MPI_LOCALNRANKS", "1"}}), "");
  EXPECT_EQ(refusal(1, {{"PMIX_RANK", "0"}, {"PMIX_NAMESPACE", "slurm.pmix.7.0"}}), "");
  EXPECT_EQ(refusal(1, {{"PMI_SIZE", "many"}, {"PMI_RANK", "1 of 2"}, {"FLUX_JOB_SIZE", "99999999999"}}), "");
  // Open MPI's own mpiexec -n 1 in a shell that an mpiexec of MPICH started.
  EXPECT_EQ(refusal(1, {{"PMI_SIZE", "2"}, {"OMPI_COMM_WORLD_SIZE", "1"}}), "");
}

TEST(OtherLauncher, UnsettingTheVariablesOfTheHintIsEnough) {
  for (const auto& [name, recorded] : kOtherLaunchers) {
    Environment environment = recorded;
    const std::string refused = refusal(1, environment);
    std::istringstream names(refused.substr(refused.find(", unset ") + 8));
    for (std::string variable; names >> variable;) {
      EXPECT_EQ(environment.erase(variable), 1U) << variable;
    }
    EXPECT_EQ(refusal(1, environment), "") << name;
  }
}

}  // namespace
}  // namespace maskedkd
