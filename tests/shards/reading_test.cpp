// Reading from a faulty file system. This program's pread() and open() are defined below: they fail on demand, else
// call the system.
#include "maskedkd/base/error.hpp"
#include "maskedkd/shards/shard_reader.hpp"
#include "packed_set.hpp"
#include "support/temporary_directory.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <functional>
#include <thread>
#include <utility>
#include <vector>

namespace {

std::atomic<int> failures_left = 0;  // of pread
std::atomic<int> failure = EIO;
std::atomic<std::size_t> most_bytes = 0;  // most bytes that a pread returns; 0: unlimited
std::atomic<int> calls = 0;
std::vector<std::pair<off_t, off_t>> advised;  // offset and length of posix_fadvise

}  // namespace

extern "C" ssize_t pread(int file, void* bytes, std::size_t count, off_t offset) {
  ++calls;
  if (failures_left > 0) {
    --failures_left;
    errno = failure;
    return -1;
  }
  if (most_bytes > 0) {
    count = std::min<std::size_t>(count, most_bytes);
  }
  return syscall(SYS_pread64, file, bytes, count, offset);
}

extern "C" ssize_t pread64(int file, void* bytes, std::size_t count, off_t offset) {
  return pread(file, bytes, count, offset);
}

extern "C" int posix_fadvise(int /*file*/, off_t offset, off_t length, int /*advice*/) {
  advised.emplace_back(offset, length);
  return 0;
}

extern "C" int posix_fadvise64(int file, off_t offset, off_t length, int advice) {
  return posix_fadvise(file, offset, length, advice);
}

namespace maskedkd::testing {
namespace {

// Runs `works` in a child with so many descriptors: a lowered hard limit can't be raised again.
bool with_descriptors(rlim_t most, const std::function<bool()>& works) {
  const pid_t child = ::fork();
  if (child == 0) {
    const rlimit limit{most, most};
    setrlimit(RLIMIT_NOFILE, &limit);
    int code = 4;
    try {
      code = works() ? 0 : 3;
    } catch (const std::exception&) {  // NOLINT(bugprone-empty-catch): the code says it
    }
    ::_exit(code);
  }
  int status = 0;
  return ::waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

class Reading : public ::testing::Test {
 protected:
  Reading() : packed_(write_set(folder_.path(), 40, 4)), set_(folder_.path()) {}
  ~Reading() override {
    failures_left = 0;
    most_bytes = 0;
  }

  void expect_all() const {
    for (std::int64_t i = 0; i < set_.num_records(); ++i) {
      ASSERT_EQ(set_.read(i).bytes, packed_.records[static_cast<std::size_t>(i)].bytes) << i;
    }
  }

  TemporaryDirectory folder_;
  PackedSet packed_;
  ShardSet set_;
};

TEST_F(Reading, ReadingContinuesAfterShortReadsAndInterruptions) {
  most_bytes = 7;
  expect_all();
  most_bytes = 0;
  failure = EINTR;
  failures_left = 1000;
  expect_all();
  EXPECT_EQ(failures_left, 0);
}

TEST_F(Reading, ATransientErrorIsRetried) {
  for (const int reason : {EIO, ESTALE, ETIMEDOUT}) {
    failure = reason;
    failures_left = 3;  // 0.1 + 0.2 + 0.4 s
    EXPECT_EQ(set_.read(5).bytes, packed_.records[5].bytes) << reason;
    EXPECT_EQ(failures_left, 0);
  }
}

TEST_F(Reading, AnErrorThatPersistsIsReportedAfterSeconds) {
  failure = EIO;
  failures_left = 1000000;
  const auto began = std::chrono::steady_clock::now();
  try {
    set_.read(5);
    FAIL() << "a file that can't be read was read";
  } catch (const BadRecord&) {
    FAIL() << "the record is not to blame";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("shard-00001.h5: Input/output error, 7 times"), std::string::npos)
        << error.what();
  }
  EXPECT_LT(std::chrono::steady_clock::now() - began, std::chrono::seconds(20));
  failures_left = 0;
  expect_all();  // the set can be read again
}

TEST_F(Reading, APermanentErrorIsNotRetried) {
  failure = EBADF;
  failures_left = 1;
  calls = 0;
  EXPECT_THROW(set_.read(0), Error);
  EXPECT_EQ(calls, 1);
}

TEST_F(Reading, AShardThatWasTruncatedOrRemovedMeanwhileIsNamed) {
  std::filesystem::resize_file(folder_.path() / shard_name(2), packed_.index.shards[2].bytes_offset + 1);
  try {
    set_.read(11);
    FAIL();
  } catch (const BadRecord& error) {
    EXPECT_NE(std::string(error.what()).find("shard-00002.h5, record 3"), std::string::npos) << error.what();
  }
  std::filesystem::remove(folder_.path() / shard_name(3));
  try {
    set_.read(12);
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("shard-00003.h5: No such file"), std::string::npos) << error.what();
  }
}

// The process may open 40 files, the set has 60 shards, and eight threads read them in different orders.
TEST_F(Reading, MoreShardsThanDescriptorsCanBeRead) {
  const TemporaryDirectory folder;
  const PackedSet packed = write_set(folder.path(), 120, 2);
  EXPECT_TRUE(with_descriptors(40, [&] {
    const ShardSet set(folder.path());
    std::vector<std::thread> readers;
    std::atomic<int> wrong = 0;
    for (int reader = 0; reader < 8; ++reader) {
      readers.emplace_back([&, reader] {
        for (int i = 0; i < 400; ++i) {
          const auto record = (reader * 31 + i * 7) % 120;
          try {
            wrong += set.read(record).bytes != packed.records[static_cast<std::size_t>(record)].bytes ? 1 : 0;
          } catch (const std::exception&) {
            ++wrong;
          }
        }
      });
    }
    for (std::thread& reader : readers) {
      reader.join();
    }
    return wrong == 0;
  }));
}

TEST_F(Reading, TwoSetsShareTheDescriptors) {
  const TemporaryDirectory one, two;
  const PackedSet first = write_set(one.path(), 80, 2, 5), second = write_set(two.path(), 80, 2, 6);
  EXPECT_TRUE(with_descriptors(64, [&] {
    const ShardSet a(one.path()), b(two.path());
    for (std::int64_t i = 0; i < 240; ++i) {
      const auto k = static_cast<std::size_t>(i % 80);
      if (a.read(i % 80).bytes != first.records[k].bytes || b.read(79 - i % 80).bytes != second.records[79 - k].bytes) {
        return false;
      }
    }
    return true;
  }));
}

// Readahead is requested for exactly the record's bytes of an open shard, and not for other shards, as opening would
// block.
TEST_F(Reading, ReadaheadIsRequestedForTheRecordsBytesOfOpenShards) {
  advised.clear();
  set_.will_need(9);
  EXPECT_TRUE(advised.empty());
  set_.read(8);
  set_.will_need(9);
  const std::uint64_t begin = packed_.index.shards[2].bytes_offset + packed_.records[8].bytes.size();
  ASSERT_EQ(advised.size(), 1u);
  EXPECT_EQ(advised[0],
            (std::pair<off_t, off_t>(static_cast<off_t>(begin), static_cast<off_t>(packed_.records[9].bytes.size()))));
  EXPECT_THROW(set_.will_need(40), Error);
  expect_all();
}

}  // namespace
}  // namespace maskedkd::testing
