// The number of CPU threads of a rank, with real bindings to cores.
#include "maskedkd/comm/threads.hpp"
#include "maskedkd/comm/mpi_session.hpp"
#include "support/mpi_test.hpp"

#include <gtest/gtest.h>
#include <sched.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <string>
#include <vector>

namespace maskedkd {
namespace {

using testing::mpi_session;

// A container's quota may grant less than its affinity shows; then the expected counts below do not apply.
bool has_quota() {
  std::string quota;
  return (std::ifstream("/sys/fs/cgroup/cpu.max") >> quota && quota != "max") ||
         (std::ifstream("/sys/fs/cgroup/cpu/cpu.cfs_quota_us") >> quota && quota != "-1");
}

class Threads : public ::testing::Test {
 protected:
  void SetUp() override {
    unsetenv("OMP_NUM_THREADS");
    unsetenv("SLURM_CPUS_PER_TASK");
    ASSERT_EQ(sched_getaffinity(0, sizeof(before_), &before_), 0);
    for (int core = 0; core < CPU_SETSIZE; ++core) {
      if (CPU_ISSET(core, &before_)) {
        cores_.push_back(core);
      }
    }
  }
  void TearDown() override {
    sched_setaffinity(0, sizeof(before_), &before_);
    setenv("OMP_NUM_THREADS", "1", 1);
    mpi_session().barrier();
  }
  static void bind(const std::vector<int>& cores) {
    cpu_set_t mask;
    CPU_ZERO(&mask);
    for (const int core : cores) {
      CPU_SET(core, &mask);
    }
    ASSERT_EQ(sched_setaffinity(0, sizeof(mask), &mask), 0);
  }

  cpu_set_t before_{};
  std::vector<int> cores_;
};

TEST_F(Threads, EveryRankHasOneThreadOnOneCore) {
  bind({cores_.front()});
  EXPECT_EQ(threads_for_rank(mpi_session()), 1);
}

TEST_F(Threads, RanksShareTheCoresThatTheyHaveInCommon) {
  if (cores_.size() < 2 || has_quota()) {
    GTEST_SKIP() << "one core only, or a quota";
  }
  bind({cores_[0], cores_[1]});
  EXPECT_EQ(threads_for_rank(mpi_session()), mpi_session().size() == 1 ? 2 : 1);
}

// Bound by the launcher, as by srun --cpu-bind=cores: a rank's count does not depend on other ranks' cores.
TEST_F(Threads, RanksBoundToSeparateCoresUseAllOfTheirs) {
  const auto size = static_cast<std::size_t>(mpi_session().size());
  const auto rank = static_cast<std::size_t>(mpi_session().rank());
  const std::size_t each = cores_.size() / size;
  if (each == 0 || has_quota()) {
    GTEST_SKIP() << "fewer cores than ranks, or a quota";
  }
  const auto first = cores_.begin() + static_cast<std::ptrdiff_t>(rank * each);
  bind({first, first + static_cast<std::ptrdiff_t>(each)});
  EXPECT_EQ(threads_for_rank(mpi_session()), static_cast<int>(each));
}

TEST_F(Threads, TheCountOfTheUserOrSlurmIsUsed) {
  setenv("SLURM_CPUS_PER_TASK", "1", 1);
  EXPECT_EQ(threads_for_rank(mpi_session()), 1);
  setenv("SLURM_CPUS_PER_TASK", "4096", 1);  // more than the affinity allows
  EXPECT_LE(threads_for_rank(mpi_session()), static_cast<int>(cores_.size()));
  setenv("OMP_NUM_THREADS", "7", 1);
  EXPECT_EQ(threads_for_rank(mpi_session()), 7);
  EXPECT_LE(cores_for_rank(mpi_session()), static_cast<int>(cores_.size()));
  setenv("OMP_NUM_THREADS", "4096", 1);
  EXPECT_LE(cores_for_rank(mpi_session()), static_cast<int>(cores_.size()));
  for (const char* nonsense : {"", "0", "-3", "many"}) {
    setenv("OMP_NUM_THREADS", nonsense, 1);
    const int threads = threads_for_rank(mpi_session());
    EXPECT_GE(threads, 1) << nonsense;
    EXPECT_LE(threads, static_cast<int>(cores_.size())) << nonsense;
  }
}

}  // namespace
}  // namespace maskedkd
