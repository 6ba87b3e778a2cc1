// Damage anywhere in a set is found and located.
#include "preprocess/verify.hpp"
#include "maskedkd/base/error.hpp"
#include "maskedkd/io/posix.hpp"
#include "maskedkd/shards/shard_reader.hpp"
#include "maskedkd/shards/shard_tables.hpp"
#include "pack_program.hpp"
#include "support/temporary_directory.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <fstream>
#include <random>

namespace {

// The range of every file in which this program's pread() fails.
std::atomic<std::int64_t> bad_begin = 0, bad_end = 0;

}  // namespace

extern "C" ssize_t pread(int file, void* bytes, std::size_t count, off_t offset) {
  if (offset < bad_end && offset + static_cast<off_t>(count) > bad_begin) {
    errno = EIO;
    return -1;
  }
  return syscall(SYS_pread64, file, bytes, count, offset);
}

extern "C" ssize_t pread64(int file, void* bytes, std::size_t count, off_t offset) {
  return pread(file, bytes, count, offset);
}

namespace maskedkd::testing {
namespace {

namespace fs = std::filesystem;

void flip(const fs::path& path, std::uint64_t at, unsigned mask) {
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekg(static_cast<std::streamoff>(at));
  const int value = file.get();
  file.seekp(static_cast<std::streamoff>(at));
  file.put(static_cast<char>(static_cast<unsigned>(value) ^ mask));
}

class Verify : public ::testing::Test {
 protected:
  Verify() {
    const ProcessResult result = run_pack(0, {"--data-path", reference_path("plain").string(), "--output-dir",
                                              set().string(), "--records-per-shard", "9"});
    EXPECT_EQ(result.exit_code, 0) << result.output;
    index_ = read_shard_index(set());
  }
  fs::path set() const { return folder_.path() / "set"; }
  fs::path shard(std::size_t i) const { return set() / index_.shards.at(i).name; }
  std::vector<std::string> verified(std::size_t i) const {
    std::atomic<std::int64_t> bytes = 0;
    return verify_shard(set(), index_, i, false, bytes).problems;
  }

  TemporaryDirectory folder_;
  ShardIndex index_;
};

TEST_F(Verify, TheProgramNamesEachDamagedRecordOnAnyNumberOfRanks) {
  const ProcessResult good = run_pack(2, {"verify", set().string()});
  EXPECT_EQ(good.exit_code, 0) << good.output;
  EXPECT_NE(good.output.find("61 records in 7 shards"), std::string::npos) << good.output;
  EXPECT_NE(good.output.find("no damage"), std::string::npos) << good.output;
  const ShardTables tables(shard(1));
  const RecordNames names = read_record_names(shard(1), tables.num_records());
  for (const std::size_t record : {2u, 7u}) {
    flip(shard(1), tables.offset(record) + 3, 8);
  }
  flip(shard(3), index_.shards[3].size_bytes - 1, 1);
  fs::resize_file(shard(4), 1000);
  fs::remove(shard(6));
  for (const int ranks : {0, 3}) {
    const ProcessResult bad = run_pack(ranks, {"verify", set().string(), "--threads", "2"});
    EXPECT_EQ(bad.exit_code, 1) << bad.output;
    for (const std::size_t record : {2u, 7u}) {
      const std::string line = fmt::format(
          "{}, record {}, class '{}', {}: has another checksum than when it was packed\n", shard(1).string(), record,
          index_.class_names[static_cast<std::size_t>(tables.label(record))], names[record]);
      EXPECT_NE(bad.output.find(line), std::string::npos) << bad.output << line;
    }
    for (const char* line :
         {"shard-00003.h5 has damaged tables", "shard-00004.h5 has 1000 bytes instead of ", "shard-00006.h5 is missing",
          "5 problems in 4 shards; move the named shards away and start maskedkd_pack again"}) {
      EXPECT_NE(bad.output.find(line), std::string::npos) << bad.output << line;
    }
  }
}

// verify must refuse what the trainer refuses.
TEST_F(Verify, AnIndexThatDisagreesWithTheShardsIsDamage) {
  const auto expect_refused = [&](const std::string& part) {
    write_file_atomically(set() / kShardIndexName, serialise(index_));
    EXPECT_THROW(ShardSet{set()}, Error);
    const ProcessResult result = run_pack(2, {"verify", set().string()});
    EXPECT_EQ(result.exit_code, 1) << result.output;
    EXPECT_NE(result.output.find(part), std::string::npos) << result.output;
  };
  const ShardIndex whole = index_;
  ++index_.class_counts[0];
  --index_.class_counts[1];
  expect_refused("the shards hold other numbers of images than its index says");
  index_ = whole;
  const ShardTables last(shard(6));
  for (std::size_t c = 0; c < index_.class_counts.size(); ++c) {
    index_.class_counts[c] -= last.class_counts()[c];
  }
  index_.num_records -= last.num_records();
  index_.shards.pop_back();
  expect_refused("shard-00000.h5 does not agree with the set's index");
}

TEST_F(Verify, AReadErrorWithinARecordIsReportedForThatRecord) {
  const ShardTables tables(shard(2));
  bad_begin = static_cast<std::int64_t>(tables.offset(4));
  bad_end = static_cast<std::int64_t>(tables.offset(4) + tables.num_bytes(4));
  const std::vector<std::string> lines = verified(2);
  std::atomic<std::int64_t> bytes = 0;
  EXPECT_TRUE(verify_shard(set(), index_, 2, false, bytes).unreadable) << "it may be undamaged";
  bad_end = bad_begin = 0;
  EXPECT_FALSE(verify_shard(set(), index_, 2, false, bytes).unreadable);
  ASSERT_EQ(lines.size(), 1u);
  EXPECT_TRUE(lines[0].starts_with(shard(2).string() + ", record 4, class ")) << lines[0];
  EXPECT_NE(lines[0].find("can't be read ("), std::string::npos) << lines[0];
  bad_end = 1;  // the first byte: no table can be read
  const std::vector<std::string> none = verified(2);
  bad_end = 0;
  ASSERT_EQ(none.size(), 1u);
  EXPECT_TRUE(none[0].starts_with(shard(2).string())) << none[0];
}

TEST_F(Verify, RandomFlipsAndCutsAreFound) {
  const char* setting = std::getenv("MASKEDKD_FLIPS");
  const int num_trials = setting != nullptr ? std::atoi(setting) : 400;
  std::mt19937_64 random(11);
  int silent = 0, records = 0, frames = 0, cuts = 0;
  for (int trial = 0; trial < num_trials; ++trial) {
    const std::size_t i = random() % index_.shards.size();
    const std::string whole = read_text_file(shard(i));
    const std::uint64_t at = random() % whole.size();
    if (trial % 2 == 0) {
      flip(shard(i), at, 1U << random() % 8);
    } else {
      fs::resize_file(shard(i), at);
    }
    const std::vector<std::string> lines = verified(i);
    silent += lines.empty() ? 1 : 0;
    cuts += trial % 2;
    if (trial % 2 == 0 && !lines.empty()) {
      const ShardIndexEntry& entry = index_.shards[i];
      const bool in_record = at >= entry.bytes_offset && at < entry.bytes_offset + entry.num_bytes;
      EXPECT_EQ(lines.front().find(", record ") != std::string::npos, in_record) << lines.front();
      ++(in_record ? records : frames);
    }
    std::ofstream(shard(i), std::ios::binary) << whole;
  }
  std::printf("%d flips in records, %d in frames, %d cuts, %d of them silent\n", records, frames, cuts, silent);
  EXPECT_EQ(silent, 0);
  EXPECT_TRUE(verified(0).empty());
}

}  // namespace
}  // namespace maskedkd::testing
