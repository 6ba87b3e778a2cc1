// Ranks that may not read each other's memory: the decision by Linux's settings, and real ranks under a seccomp filter
// with which Open MPI's default fails.
#include "maskedkd/comm/single_copy.hpp"

#include "support/process.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

namespace maskedkd::testing {
namespace {

constexpr const char* kMechanism = "OMPI_MCA_btl_vader_single_copy_mechanism";

TEST(SingleCopy, IsAllowedOnlyWhereNothingForbidsIt) {
  EXPECT_TRUE(allows_single_copy({}));
  EXPECT_TRUE(allows_single_copy({.ptrace_scope = 1})) << "Open MPI lets other ranks trace (PR_SET_PTRACER)";
  EXPECT_FALSE(allows_single_copy({.reads_itself = false}));
  EXPECT_FALSE(allows_single_copy({.is_dumpable = false}));
  EXPECT_FALSE(allows_single_copy({.ptrace_scope = 2}));
  EXPECT_FALSE(allows_single_copy({.ptrace_scope = 3}));
  EXPECT_FALSE(allows_single_copy({.in_container = true}));
}

TEST(SingleCopy, KeepsTheSettingOfTheUserOrOpenMpiIfItIsAllowed) {
  unsetenv(kMechanism);
  turn_off_forbidden_single_copy({});
  EXPECT_EQ(std::getenv(kMechanism), nullptr);
  setenv(kMechanism, "emulated", 1);
  turn_off_forbidden_single_copy({.reads_itself = false});
  EXPECT_STREQ(std::getenv(kMechanism), "emulated");
  unsetenv(kMechanism);
  turn_off_forbidden_single_copy({.reads_itself = false});
  EXPECT_STREQ(std::getenv(kMechanism), "none");
  unsetenv(kMechanism);
  unsetenv("OMPI_MCA_smsc");
}

ProcessResult ranks_without_process_vm(const std::string& mechanism) {
  std::vector<std::string> command = {MASKEDKD_FORBID_PROCESS_VM, MASKEDKD_MPIEXEC, "--quiet", "-n", "2"};
  if (!mechanism.empty()) {
    command.insert(command.end(), {"-x", kMechanism + ("=" + mechanism)});
  }
  command.emplace_back(MASKEDKD_TWO_RANKS);
  command.emplace_back("--gtest_filter=OverMpi.AllReduce*");
  return run_process(command);
}

TEST(SingleCopy, IsNotTriedAndLogsNothingIfItIsForbidden) {
  const ProcessResult forced = ranks_without_process_vm("cma");
  if (forced.exit_code == 77 || forced.output.find("Read -1") == std::string::npos) {
    GTEST_SKIP() << "no filter can be set here, or this MPI does not read other processes: " << forced.output;
  }
  const ProcessResult result = ranks_without_process_vm("");
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_EQ(result.output.find("Read -1"), std::string::npos) << result.output;
}

}  // namespace
}  // namespace maskedkd::testing
