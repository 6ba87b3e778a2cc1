#include "maskedkd/shards/staging.hpp"
#include "maskedkd/base/error.hpp"
#include "maskedkd/io/digest.hpp"
#include "maskedkd/io/unfinished.hpp"
#include "packed_set.hpp"
#include "support/temporary_directory.hpp"

#include <gtest/gtest.h>
#include <linux/magic.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <thread>

namespace {
bool is_memory = false;
}  // namespace

// Replaces the C library's function: while is_memory is true, every folder is on a tmpfs mounted with size=0, no limit.
extern "C" int statfs(const char* path, struct statfs* status) noexcept {
  const long result = ::syscall(SYS_statfs, path, status);
  if (result == 0 && is_memory) {
    status->f_type = TMPFS_MAGIC;
    status->f_blocks = status->f_bfree = status->f_bavail = 0;
  }
  return static_cast<int>(result);
}

namespace maskedkd::testing {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

class StagingTest : public ::testing::Test {
 protected:
  static constexpr std::size_t kShards = 10;
  StagingTest() : packed_(write_set(source_.path(), 40, 4)), set_(source_.path()) {}

  StagingOptions options(int local_rank = 0, int local_size = 1) const {
    return {near_.path(), /*leave_free=*/0, local_rank, local_size};
  }

  static Staging::Progress finish(const Staging& staging) {
    for (int i = 0; i < 2000 && !staging.progress().finished; ++i) {
      std::this_thread::sleep_for(5ms);
    }
    EXPECT_TRUE(staging.progress().finished);
    return staging.progress();
  }

  void expect_all(const ShardSet& set) const {
    for (std::int64_t i = 0; i < set.num_records(); ++i) {
      ASSERT_EQ(set.read(i).bytes, packed_.records[static_cast<std::size_t>(i)].bytes) << i;
    }
  }

  fs::path copies() const { return near_.path() / fmt::format("maskedkd-{}-0123abcd", getuid()); }
  std::size_t num_files() const {
    return static_cast<std::size_t>(std::distance(fs::directory_iterator(copies()), fs::directory_iterator()));
  }

  TemporaryDirectory source_, near_;
  PackedSet packed_;
  ShardSet set_;
};

TEST_F(StagingTest, RecordsAreReadFromCopiesWithTheDigestOfTheIndex) {
  const Staging staging(set_, options());
  const Staging::Progress progress = finish(staging);
  EXPECT_EQ(progress.num_staged, kShards);
  EXPECT_EQ(num_files(), kShards);
  std::uint64_t total = 0;
  for (const ShardIndexEntry& entry : packed_.index.shards) {
    EXPECT_EQ(sha256_of_file(copies() / entry.name), entry.sha256);
    total += entry.size_bytes;
  }
  EXPECT_EQ(progress.bytes_copied, total);
  EXPECT_NE(set_.describe(17).find("-0123abcd/shard-00004.h5, record 1"), std::string::npos);
  fs::remove_all(source_.path());
  expect_all(set_);
}

TEST_F(StagingTest, RanksOfANodeShareTheCopying) {
  std::vector<ShardSet> sets;
  for (int rank = 0; rank < 3; ++rank) {
    sets.emplace_back(source_.path());
  }
  std::vector<std::unique_ptr<Staging>> ranks;
  for (int rank = 0; rank < 3; ++rank) {
    ranks.push_back(std::make_unique<Staging>(sets[static_cast<std::size_t>(rank)], options(rank, 3)));
  }
  std::uint64_t copied = 0, total = 0;
  for (const auto& staging : ranks) {
    const Staging::Progress progress = finish(*staging);
    EXPECT_EQ(progress.num_staged, kShards);
    copied += progress.bytes_copied;
  }
  for (const ShardIndexEntry& entry : packed_.index.shards) {
    total += entry.size_bytes;
  }
  EXPECT_EQ(copied, total) << "each shard once";
  fs::remove_all(source_.path());
  for (const ShardSet& set : sets) {
    expect_all(set);
  }
}

TEST_F(StagingTest, ASecondRunFindsTheCopiesAndComparesThem) {
  finish(Staging(set_, options()));
  flip_byte(copies() / shard_name(3), packed_.index.shards[3].bytes_offset + 2, 0x40);
  fs::resize_file(copies() / shard_name(5), 100);
  const ShardSet again(source_.path());
  const Staging staging(again, options());
  const Staging::Progress progress = finish(staging);
  EXPECT_EQ(progress.num_staged, kShards);
  EXPECT_EQ(progress.bytes_copied, packed_.index.shards[3].size_bytes + packed_.index.shards[5].size_bytes);
  expect_all(again);
}

TEST_F(StagingTest, TheRequiredFreeSpaceIsKept) {
  StagingOptions most = options();
  most.leave_free = 0.9999;
  const Staging staging(set_, most);
  EXPECT_EQ(finish(staging).num_staged, 0u);
  EXPECT_EQ(num_files(), 0u);
  expect_all(set_);
}

TEST_F(StagingTest, AMemoryFileSystemWithoutALimitHasTheCapacityOfTheMemory) {
  is_memory = true;
  StagingOptions most = options();
  most.leave_free = 0.9999;
  EXPECT_EQ(finish(Staging(set_, most)).num_staged, 0u);
  EXPECT_EQ(finish(Staging(set_, options())).num_staged, kShards);
  is_memory = false;
}

TEST_F(StagingTest, ADamagedShardIsNotCopiedAndADamagedCopyNotUsed) {
  flip_byte(source_.path() / shard_name(2), packed_.index.shards[2].bytes_offset, 0x01);
  const Staging staging(set_, options());
  EXPECT_EQ(finish(staging).num_staged, kShards - 1);
  EXPECT_FALSE(fs::exists(copies() / shard_name(2)));
  EXPECT_THROW(set_.read(8), BadRecord);
  // If a copy is damaged or removed during the run, the original is read again.
  flip_byte(copies() / shard_name(4), packed_.index.shards[4].bytes_offset, 0x01);
  fs::remove(copies() / shard_name(6));
  fs::resize_file(copies() / shard_name(7), 50);
  for (const std::int64_t record : {16, 24, 28}) {
    EXPECT_EQ(set_.read(record).bytes, packed_.records[static_cast<std::size_t>(record)].bytes);
  }
}

TEST_F(StagingTest, EndingDuringACopyLeavesNoPartialCopy) {
  const TemporaryDirectory source;
  const PackedSet large = [&] {
    std::vector<Record> records;
    for (int i = 0; i < 8; ++i) {
      records.push_back(
          {std::vector<std::uint8_t>(std::size_t{3} * 2000 * 4000, static_cast<std::uint8_t>(i)), 0, {2000, 4000, 3}});
    }
    return write_set(source.path(), records, 4, {"ant"});
  }();
  const ShardSet set(source.path());
  {
    const Staging staging(set, options());
    while (num_files() == 0) {  // a copy has begun
      std::this_thread::sleep_for(1ms);
    }
  }
  for (const auto& entry : fs::directory_iterator(copies())) {
    ASSERT_FALSE(entry.path().filename().string().starts_with(".tmp-")) << entry.path();
    EXPECT_EQ(sha256_of_file(entry.path()),
              large.index.shards.at(entry.path().filename() == shard_name(0) ? 0 : 1).sha256);
  }
  EXPECT_EQ(set.read(7).bytes, large.records[7].bytes);
}

TEST_F(StagingTest, FilesOfDeadProcessesAreSweptAndThoseOfLivingOnesAreKept) {
  fs::create_directories(copies());
  const pid_t child = ::fork();
  if (child == 0) {
    std::ofstream(unfinished_path(copies() / "shard-00000.h5")) << "half";
    ::_exit(0);
  }
  ASSERT_EQ(::waitpid(child, nullptr, 0), child);
  const fs::path dead = fs::directory_iterator(copies())->path();
  const fs::path live = unfinished_path(copies() / "shard-00001.h5");
  // A copy of another container, whose writer has a number that no process has here.
  std::string name = dead.string();
  const fs::path elsewhere = name.replace(name.rfind('.') - 8, 8, "0badcafe");
  std::ofstream(live) << "half";
  std::ofstream(elsewhere) << "half";
  finish(Staging(set_, options()));
  EXPECT_FALSE(fs::exists(dead));
  EXPECT_TRUE(fs::exists(live));
  EXPECT_TRUE(fs::exists(elsewhere)) << "unknown is not dead";
}

TEST_F(StagingTest, InvalidFoldersAndSharesAreRefused) {
  StagingOptions file = options();
  file.directory = source_.path() / shard_name(0);
  EXPECT_THROW(Staging(set_, file), Error);
  StagingOptions share = options();
  share.leave_free = 1;
  EXPECT_THROW(Staging(set_, share), Error);
}

}  // namespace
}  // namespace maskedkd::testing
