// How programs end: exit code, messages, the rank that prints them, and the time until all ranks have ended.
#include "maskedkd/cli/run_main.hpp"

#include "support/process.hpp"
#include "support/temporary_directory.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>

namespace maskedkd {
namespace {

using testing::ProcessResult;
using testing::run_process;

struct Ending {
  const char* how;
  int code;
  const char* message;  // the whole line after its time; nullptr: no message
};

const Ending kEndings[] = {
    {"finished", 0, nullptr},
    {"requeue", 85, nullptr},
    {"failure", 1, "error the disk is full; free some space (ending.cpp:"},
    {"usage", 2, "error the folder is empty; name another"},
    {"no-requeue", 93, "error the loss is not finite at step 7; lower the learning rate (ending.cpp:"},
    {"memory", 1, "error out of memory; use a smaller --micro-batch"},
    {"standard", 1, "error expected a tensor"},
    {"foreign", 1, "error an exception of an unknown type was thrown"},
    {"gpu-memory", 1, "error CUDA out of memory. Tried to allocate 2.00 GiB.; use a smaller --micro-batch"},
    {"lost-mapping", 1, "error a file that is in use was truncated or its disk failed (SIGBUS"},
};

std::vector<std::string> lines_with(const std::string& text, const std::string& part) {
  std::vector<std::string> found;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (line.find(part) != std::string::npos) {
      found.push_back(line);
    }
  }
  return found;
}

// Output of one process on standard error (returned) and on standard output.
ProcessResult alone(const std::string& arguments, std::string& standard_output, const std::string& environment = {}) {
  const testing::TemporaryDirectory directory;
  const std::filesystem::path file = directory.path() / "stdout";
  const ProcessResult result =
      run_process({"sh", "-c", environment + " exec " MASKEDKD_ENDING " " + arguments + " >" + file.string()});
  std::stringstream text;
  text << std::ifstream(file).rdbuf();
  standard_output = text.str();
  return result;
}

ProcessResult under_mpiexec(int ranks, const std::vector<std::string>& arguments) {
  std::vector<std::string> argv = {MASKEDKD_MPIEXEC, "-n", std::to_string(ranks), MASKEDKD_ENDING};
  argv.insert(argv.end(), arguments.begin(), arguments.end());
  return run_process(argv);
}

void expect_one_line_and_code(const std::string& arguments, const std::string& environment = {}) {
  for (const Ending& ending : kEndings) {
    std::string standard_output;
    const ProcessResult result = alone(arguments + " --how=" + ending.how, standard_output, environment);
    EXPECT_EQ(result.exit_code, ending.code) << ending.how << '\n' << result.output;
    EXPECT_EQ(standard_output, "") << ending.how;
    if (ending.message == nullptr) {
      EXPECT_EQ(result.output, "") << ending.how;
    } else {
      EXPECT_EQ(std::count(result.output.begin(), result.output.end(), '\n'), 1) << result.output;
      // The hint for one process mentions neither micro-batches nor ranks.
      const std::string message = arguments.empty() || std::string(ending.how).find("memory") == std::string::npos
                                      ? ending.message
                                  : ending.how == std::string("memory") ? "error out of memory\n"
                                                                        : "Tried to allocate 2.00 GiB.\n";
      EXPECT_NE(result.output.find(message), std::string::npos) << result.output;
    }
  }
}

TEST(RunMain, OneRankEndsWithTheCodeAndOneLineOnStandardError) { expect_one_line_and_code(""); }

// As on a machine where MPI can't start.
TEST(RunMain, AProgramWithoutMpiEndsTheSameWay) {
  const std::string no_mpi = "OMPI_MCA_ess=none_such OMPI_MCA_pml=none_such";
  std::string standard_output;
  EXPECT_NE(alone("", standard_output, no_mpi).exit_code, 0);
  expect_one_line_and_code("alone", no_mpi);
}

TEST(RunMain, OneFailingRankEndsAllWithItsCodeAndItsLine) {
  for (const Ending& ending : kEndings) {
    if (ending.message == nullptr ||
        std::string("memory gpu-memory standard lost-mapping").find(ending.how) != std::string::npos) {
      continue;  // covered by the tests above
    }
    // Ranks other than the first wait a moment before they print; rank 0 is tried only once.
    for (const int who : ending.code == 2 ? std::vector{0, 2} : std::vector{2}) {
      const ProcessResult result = under_mpiexec(3, {std::string("--how=") + ending.how, "--who", std::to_string(who)});
      EXPECT_EQ(result.exit_code, ending.code) << ending.how << '\n' << result.output;
      EXPECT_LT(result.seconds, 10.0) << ending.how;
      const auto printed_lines = lines_with(result.output, "error ");
      ASSERT_EQ(printed_lines.size(), 1U) << result.output;
      std::string expected = ending.message;
      expected.insert(expected.find(' ') + 1, "[rank " + std::to_string(who) + "] ");
      EXPECT_NE(printed_lines[0].find(expected), std::string::npos) << printed_lines[0];
    }
  }
}

// A signal handler can neither ask for the rank nor call MPI: mpiexec ends the other ranks.
TEST(RunMain, ARankThatLosesAMappedFilePrintsALineAndEndsAll) {
  const ProcessResult result = under_mpiexec(3, {"--how=lost-mapping", "--who=1"});
  EXPECT_EQ(result.exit_code, 1) << result.output;
  EXPECT_LT(result.seconds, 10.0);
  EXPECT_EQ(lines_with(result.output, "error a file that is in use was truncated").size(), 1U) << result.output;
}

TEST(RunMain, RanksThatIgnoreSigtermAreEndedToo) {
  const ProcessResult result = under_mpiexec(3, {"--how=failure", "--who=1", "--others=deaf"});
  EXPECT_EQ(result.exit_code, 1) << result.output;
  EXPECT_LT(result.seconds, 10.0);
  EXPECT_EQ(lines_with(result.output, "the disk is full").size(), 1U) << result.output;
}

TEST(RunMain, AMistakeOfAllRanksIsPrintedOnceByTheFirst) {
  for (const std::string how : {"usage", "failure"}) {
    const ProcessResult result = under_mpiexec(4, {"--how=" + how});
    EXPECT_EQ(result.exit_code, how == "usage" ? 2 : 1);
    const auto printed_lines = lines_with(result.output, "error ");
    ASSERT_EQ(printed_lines.size(), 1U) << result.output;
    EXPECT_NE(printed_lines[0].find("[rank 0]"), std::string::npos) << printed_lines[0];
  }
}

TEST(RunMain, AMisspeltFlagOnManyRanksIsOneLine) {
  const ProcessResult result = under_mpiexec(4, {"--hwo=failure"});
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_LT(result.seconds, 10.0);
  const auto printed_lines = lines_with(result.output, "--how");
  ASSERT_EQ(printed_lines.size(), 1U) << result.output;
  EXPECT_NE(printed_lines[0].find("unknown option --hwo; did you mean --how?"), std::string::npos) << printed_lines[0];
}

// All ranks return the code of a stop signal; mpiexec returns it too.
TEST(RunMain, MpiexecReturnsTheRequeueCodeOfAllRanks) {
  const ProcessResult result = under_mpiexec(3, {"--how=requeue"});
  EXPECT_EQ(result.exit_code, 85) << result.output;
  EXPECT_TRUE(lines_with(result.output, "error ").empty()) << result.output;
}

// srun without PMI starts every task as an MPI job of one rank. The test asks for Open MPI's singleton explicitly, as
// Debian's Open MPI would end in MPI_Init if it detected srun.
TEST(RunMain, ALaunchWithoutPmiIsRefused) {
  const std::string slurm = "SLURM_PROCID=0 SLURM_STEP_ID=0 SLURM_STEP_NUM_TASKS=4 OMPI_MCA_ess=singleton";
  std::string standard_output;
  const ProcessResult result = alone("", standard_output, slurm);
  EXPECT_EQ(result.exit_code, 2) << result.output;
  EXPECT_NE(result.output.find("error Slurm started 4 tasks, but no PMI connects them; start with srun --mpi=pmix"),
            std::string::npos)
      << result.output;
  EXPECT_EQ(standard_output, "");
}

// MPICH's mpiexec.hydra starts one of two processes in this way: Open MPI's MPI_Init does not see the other.
TEST(RunMain, TheLauncherOfAnotherMpiIsRefused) {
  const std::string hydra = "PMI_RANK=0 PMI_SIZE=2 MPI_LOCALNRANKS=2 MPI_LOCALRANKID=0";
  std::string standard_output;
  const ProcessResult result = alone("", standard_output, hydra);
  EXPECT_EQ(result.exit_code, 2) << result.output;
  EXPECT_NE(result.output.find("error 2 processes were started, but MPI sees 1 (PMI_SIZE MPI_LOCALNRANKS); "),
            std::string::npos)
      << result.output;
  EXPECT_EQ(alone("", standard_output, "PMI_RANK=0 PMI_SIZE=1 MPI_LOCALNRANKS=1").exit_code, 0);
}

// The code is 85, so that the job is restarted; also if a destructor throws the same error while the stack is unwound,
// which is SIGABRT in C++.
TEST(RunMain, AGpuFailureEndsWithTheRequeueCodeAndOneLine) {
  for (const std::string how : {"gpu", "gpu-in-destructor"}) {
    std::string standard_output;
    const ProcessResult result = alone("--how=" + how, standard_output);
    EXPECT_EQ(result.exit_code, 85) << result.output;
    EXPECT_EQ(std::count(result.output.begin(), result.output.end(), '\n'), 1) << result.output;
    EXPECT_NE(result.output.find("failed"), std::string::npos) << result.output;
    EXPECT_NE(result.output.find("CUBLAS_STATUS_EXECUTION_FAILED"), std::string::npos) << result.output;
    const ProcessResult ranks = under_mpiexec(3, {"--how=" + how, "--who=1"});
    EXPECT_EQ(ranks.exit_code, 85) << ranks.output;
    EXPECT_LT(ranks.seconds, 10.0);
    EXPECT_EQ(lines_with(ranks.output, "error [rank 1] ").size(), 1U) << ranks.output;
  }
}

}  // namespace
}  // namespace maskedkd
