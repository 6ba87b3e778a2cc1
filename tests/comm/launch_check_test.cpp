// Environments as Slurm 22.05 with Open MPI 4.1 and 5 make them.
#include "maskedkd/comm/launch_check.hpp"

#include "maskedkd/base/error.hpp"

#include <gtest/gtest.h>

#include <map>

namespace maskedkd {
namespace {

using Environment = std::map<std::string, std::string>;

auto reader(const Environment& environment) {
  return [&environment](const char* name) {
    const auto entry = environment.find(name);
    return entry == environment.end() ? std::string() : entry->second;
  };
}

void check(int mpi_size, const Environment& environment) { check_launch(mpi_size, reader(environment)); }

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
  // What Open MPI 4.1 puts into a process that it starts alone must not pass for a launcher.
  expect_refused(1, with(step("4"), {{"OMPI_MCA_ess", "singleton"}, {"OMPI_MCA_orte_ess_num_procs", "1"}}), "4");
}

TEST(LaunchCheck, AStepOfFewerTasksThanTheAllocationCountsByItself) {
  Environment environment = step("2");
  environment.insert_or_assign("SLURM_NTASKS", std::string("8"));
  EXPECT_NO_THROW(check(2, environment));
  expect_refused(8, environment, "2");
}

TEST(LaunchCheck, WithoutAStepsCountTheJobsCounts) {
  Environment environment = step("4");
  environment.erase("SLURM_STEP_NUM_TASKS");
  EXPECT_NO_THROW(check(4, environment));
  expect_refused(1, environment, "4");
}

// A batch script has SLURM_NTASKS and SLURM_PROCID of its own, but is no step: python3 -c or a lone program may run.
TEST(LaunchCheck, ABatchScriptsOwnProcessIsFine) {
  Environment environment = step("8");
  environment.erase("SLURM_STEP_ID");
  environment.erase("SLURM_STEP_NUM_TASKS");
  EXPECT_NO_THROW(check(1, environment));
}

// mpiexec inside an allocation starts one daemon a node through srun; its ranks inherit the daemon's step.
TEST(LaunchCheck, MpiexecInAnAllocationMayStartAnyNumber) {
  for (const int size : {1, 2, 8}) {
    const std::string text = std::to_string(size);
    EXPECT_NO_THROW(
        check(size, with(step("3"), {{"OMPI_COMM_WORLD_SIZE", text}, {"OMPI_MCA_orte_hnp_uri", "1.0;tcp"}})));
  }
}

// Open MPI 5 names its daemons otherwise, but still tells the size.
TEST(LaunchCheck, MpiexecOfOpenMpi5InAnAllocationIsFine) {
  EXPECT_NO_THROW(check(8, with(step("2"), {{"OMPI_COMM_WORLD_SIZE", "8"}, {"PMIX_SERVER_URI41", "prterun-a-1@0"}})));
}

// A size of 1 alone proves no launcher: a process without one may be told so as well.
TEST(LaunchCheck, ASizeOfOneWithoutADaemonDoesNotVouch) {
  expect_refused(1, with(step("4"), {{"OMPI_COMM_WORLD_SIZE", "1"}}), "4");
}

// Variables left over from an outer mpiexec, say of a container that was started by it, don't vouch for srun's ranks.
TEST(LaunchCheck, ALauncherOfAnotherSizeDoesNotVouch) {
  expect_refused(1, with(step("4"), {{"OMPI_COMM_WORLD_SIZE", "4"}, {"OMPI_MCA_orte_hnp_uri", "1.0;tcp"}}), "4");
}

// srun --mpi=none names no PMI; MPI_Init would print a page and exit with 1.
TEST(Launcher, SrunWithoutPmiIsRefusedBeforeMpiStarts) {
  const Environment none = step("2");
  try {
    check_launcher(reader(none));
    FAIL() << "not refused";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::usage);
    EXPECT_STREQ(error.what(), "Slurm started 2 tasks, but no MPI between them");
    EXPECT_NE(error.hint().find("srun --mpi=pmix"), std::string::npos) << error.hint();
  }
}

TEST(Launcher, EveryPmiAndALoneTaskPass) {
  for (const char* sign : {"PMIX_RANK", "PMI_RANK", "PMI_FD", "OMPI_COMM_WORLD_SIZE"}) {
    const Environment known = with(step("2"), {{sign, "0"}});
    EXPECT_NO_THROW(check_launcher(reader(known))) << sign;
  }
  for (const Environment& fine : {Environment{}, step("1")}) {
    EXPECT_NO_THROW(check_launcher(reader(fine)));
  }
}

TEST(Launcher, MpiexecInsideAJobIsRemarkedOn) {
  const Environment mpiexec = {{"OMPI_COMM_WORLD_SIZE", "2"}, {"OMPI_MCA_orte_hnp_uri", "1.0;tcp"}};
  EXPECT_EQ(launcher_remark(reader(mpiexec)), "");
  const Environment job = with(mpiexec, {{"SLURM_JOB_ID", "7"}});
  EXPECT_NE(launcher_remark(reader(job)).find("srun --mpi=pmix"), std::string::npos);
  const Environment srun = with(step("2"), {{"PMIX_RANK", "0"}});
  EXPECT_EQ(launcher_remark(reader(srun)), "");
}

}  // namespace
}  // namespace maskedkd
