// Quotas in a tree of files with the layout of /sys/fs/cgroup.
#include "comm/cgroup.hpp"
#include "support/temporary_directory.hpp"

#include <gtest/gtest.h>

#include <fstream>

namespace maskedkd::testing {
namespace {

class Cgroup : public ::testing::Test {
 protected:
  void set(const std::string& group, const std::string& content) const {
    std::filesystem::create_directories(root() / group);
    std::ofstream(root() / group / "cpu.max") << content << '\n';
  }
  const std::filesystem::path& root() const { return folder_.path(); }
  double cores(const std::string& own, const std::vector<std::string>& groups) const {
    return cgroup_cores(root(), own, groups);
  }
  TemporaryDirectory folder_;
};

TEST_F(Cgroup, TheSmallestQuotaOfTheGroupAndItsParentsCounts) {
  EXPECT_GT(cores("/", {"/"}), 1e6);
  EXPECT_GT(cores("/job/task", {"/job/task"}), 1e6);
  set("job/task", "max 100000");
  set("job", "600000 100000");
  EXPECT_DOUBLE_EQ(cores("/job/task", {"/job/task"}), 6);
  EXPECT_DOUBLE_EQ(cores("/job", {"/job"}), 6);
  EXPECT_GT(cores("/jobs", {"/jobs"}), 1e6);
  set("job/task", "150000 100000");
  EXPECT_DOUBLE_EQ(cores("/job/task", {"/job/task"}), 1.5);
  set("", "50000 100000");
  EXPECT_DOUBLE_EQ(cores("/job/task", {"/job/task"}), 0.5);
}

TEST_F(Cgroup, AQuotaIsSharedByTheRanksBelowItOnly) {
  set("job/a", "200000 100000");
  set("job/b", "400000 100000");
  EXPECT_DOUBLE_EQ(cores("/job/a", {"/job/a", "/job/b"}), 2);
  EXPECT_DOUBLE_EQ(cores("/job/b", {"/job/a", "/job/b"}), 4);
  EXPECT_DOUBLE_EQ(cores("/job/b", {"/job/b", "/job/a", "/job/b"}), 2);
  set("job", "300000 100000");
  EXPECT_DOUBLE_EQ(cores("/job/b", {"/job/a", "/job/b"}), 1.5);
}

TEST_F(Cgroup, InvalidTextIsNoQuota) {
  for (const char* content : {"", "max", "0x 1", "100 0", "many 100000"}) {
    set("job", content);
    EXPECT_GT(cores("/job", {"/job"}), 1e6) << content;
  }
}

TEST_F(Cgroup, QuotasOfVersion1AreRead) {
  std::filesystem::create_directories(root() / "cpu");
  std::ofstream(root() / "cpu/cpu.cfs_quota_us") << "300000\n";
  std::ofstream(root() / "cpu/cpu.cfs_period_us") << "100000\n";
  EXPECT_DOUBLE_EQ(cores("/", {"/", "/"}), 1.5);
}

TEST(OwnCgroup, IsAPath) { EXPECT_TRUE(own_cgroup().starts_with("/")); }

}  // namespace
}  // namespace maskedkd::testing
