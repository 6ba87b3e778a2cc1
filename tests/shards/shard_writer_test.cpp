// Shards that are written record by record: the result with and without a forecast, and errors.
#include "maskedkd/shards/shard_writer.hpp"
#include "maskedkd/base/error.hpp"
#include "maskedkd/shards/shard_reader.hpp"
#include "packed_set.hpp"
#include "support/error_of.hpp"
#include "support/process.hpp"
#include "support/temporary_directory.hpp"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <set>

namespace maskedkd::testing {
namespace {

namespace fs = std::filesystem;

ShardHeader header() { return {RecordEncoding::raw, "0123abcd", 0, 1, {"ant", "bee", "cat"}}; }

std::string name_of(std::size_t i) { return fmt::format("b ee/Größe {}\n.jpg", i * 7919); }

struct Content {
  std::vector<Record> records;
  ShardForecast forecast;
};

Content random_content(std::size_t num_records, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  Content content;
  for (std::size_t i = 0; i < num_records; ++i) {
    content.records.push_back(random_record(random, 3));
    content.forecast.num_bytes += content.records.back().bytes.size();
    content.forecast.num_name_bytes += name_of(i).size();
  }
  content.forecast.num_records = num_records;
  return content;
}

ShardIndexEntry write(const fs::path& path, const Content& content, const std::optional<ShardForecast>& forecast,
                      bool with_names = true) {
  ShardWriter writer(path, header(), forecast);
  for (std::size_t i = 0; i < content.records.size(); ++i) {
    const Record& record = content.records[i];
    writer.append(record.bytes, record.label, record.shape, with_names ? name_of(i) : "");
  }
  return writer.finish();
}

// Compares an entry with the file: sizes of the file system, digests and tables by Python.
void expect_described(const ShardIndexEntry& entry, const fs::path& path, const Content& content) {
  EXPECT_EQ(entry.name, path.filename());
  EXPECT_EQ(entry.num_records, static_cast<std::int64_t>(content.records.size()));
  EXPECT_EQ(entry.size_bytes, fs::file_size(path));
  const ProcessResult python =
      run_process({MASKEDKD_PYTHON, "-c",
                   "import h5py, hashlib, sys\n"
                   "with h5py.File(sys.argv[1]) as f: begin, n = f['bytes'].id.get_offset() or 0, f['bytes'].size\n"
                   "all = open(sys.argv[1], 'rb').read()\n"
                   "begin = begin if n else int(sys.argv[2])\n"
                   "sha = lambda b: hashlib.sha256(b).hexdigest()\n"
                   "print(begin, n, sha(all[:begin] + all[begin + n:]), sha(all))\n",
                   path.string(), std::to_string(entry.bytes_offset)});
  EXPECT_EQ(python.output,
            fmt::format("{} {} {} {}\n", entry.bytes_offset, entry.num_bytes, entry.frame_sha256, entry.sha256));
}

// Ranks on two machines or in two containers may have the same process number.
TEST(ShardWriter, EveryWriterHasItsOwnUnfinishedFile) {
  const TemporaryDirectory folder;
  const ShardWriter one(folder.path() / shard_name(3), header()), other(folder.path() / shard_name(3), header());
  std::set<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder.path())) {
    names.insert(entry.path().filename().string());
    EXPECT_TRUE(names.rbegin()->starts_with(".tmp-shard-00003.h5-")) << *names.rbegin();
  }
  EXPECT_EQ(names.size(), 2u);
}

TEST(ShardWriter, ItsEntryDescribesTheFileWhateverWasForecast) {
  for (const std::size_t num_records : {0u, 1u, 2u, 57u, 3000u}) {
    const TemporaryDirectory folder;
    const fs::path path = folder.path() / shard_name(0);
    const Content content = random_content(num_records, num_records + 1);
    ShardForecast wrong = content.forecast;
    wrong.num_bytes += 17;
    ShardForecast more = content.forecast;
    more.num_records += 1;
    std::string bytes;
    for (const auto& forecast :
         {std::optional<ShardForecast>(), std::optional(content.forecast), std::optional(wrong), std::optional(more)}) {
      const ShardIndexEntry entry = write(path, content, forecast);
      expect_described(entry, path, content);
      const RecordNames names = read_record_names(path, entry.num_records);
      ASSERT_EQ(names.size(), num_records);
      for (std::size_t i = 0; i < num_records; ++i) {
        ASSERT_EQ(names[i], name_of(i));
      }
      const std::string written = read_text_file(path);
      bytes = bytes.empty() ? written : bytes;
      EXPECT_EQ(written, bytes) << "a forecast changed the file";
      EXPECT_EQ(std::distance(fs::directory_iterator(folder.path()), fs::directory_iterator()), 1);
    }
  }
}

TEST(ShardWriter, NamesAreReadByH5pyAndAreOptional) {
  const TemporaryDirectory folder;
  const Content content = random_content(40, 4);
  const fs::path path = folder.path() / shard_name(0);
  write(path, content, content.forecast);
  std::string expected;
  for (std::size_t i = 0; i < 40; ++i) {
    expected += fmt::format("'{}'\n", fmt::format("b ee/Größe {}\\n.jpg", i * 7919));
  }
  const ProcessResult result =
      run_process({MASKEDKD_PYTHON, "-c",
                   "import h5py, sys, zlib\n"
                   "with h5py.File(sys.argv[1]) as f:\n"
                   "    o, b = f['name_offsets'][:], f['name_bytes'][:].tobytes()\n"
                   "    for i in range(len(o) - 1): print(repr(b[o[i]:o[i + 1]].decode()))\n"
                   "    assert zlib.crc32(b, zlib.crc32(o.tobytes())) == f.attrs['name_checksum']\n",
                   path.string()});
  EXPECT_EQ(result.output, expected);
  write(path, content, content.forecast, false);
  EXPECT_EQ(read_record_names(path, 40).size(), 0u);
}

// A limit on file sizes stands for a full disk: a cut at any byte gives an Error and no shard.
TEST(ShardWriter, AFullDiskAnywhereIsAnErrorAndLeavesNothing) {
  const TemporaryDirectory folder;
  const Content content = random_content(2500, 9);
  const fs::path path = folder.path() / shard_name(0);
  const std::uint64_t whole = write(path, content, content.forecast).size_bytes;
  fs::remove(path);
  std::mt19937_64 random(5);
  for (int trial = 0; trial < 20; ++trial) {
    const rlim_t limit_bytes = trial < 3 ? static_cast<rlim_t>(trial) * 1500 : random() % whole;
    const pid_t child = fork();
    if (child == 0) {
      signal(SIGXFSZ, SIG_IGN);
      const rlimit limit{limit_bytes, limit_bytes};
      setrlimit(RLIMIT_FSIZE, &limit);
      int code = 3;
      try {
        write(path, content, trial % 2 == 0 ? std::optional(content.forecast) : std::nullopt);
      } catch (const Error& error) {
        const std::string text = error.what();
        code = text.find("can't write " + path.string()) == 0 && text.find("File too large") != std::string::npos &&
                       !error.hint().empty()
                   ? 7
                   : 4;
      }
      std::exit(code);
    }
    int status = 0;
    waitpid(child, &status, 0);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 7) << "limit " << limit_bytes << ", status " << status;
    EXPECT_TRUE(fs::is_empty(folder.path()));
  }
}

TEST(ShardWriter, AMissingFolderIsAnErrorAndAnUnfinishedShardIsRemoved) {
  const TemporaryDirectory folder;
  const std::string message =
      error_of([&] { ShardWriter writer(folder.path() / "missing" / shard_name(0), header()); });
  EXPECT_NE(message.find("No such file"), std::string::npos) << message;
  {
    ShardWriter writer(folder.path() / shard_name(0), header());
    writer.append(std::vector<std::uint8_t>(3), 0, {1, 1, 3}, "x");
  }
  EXPECT_TRUE(fs::is_empty(folder.path()));
}

}  // namespace
}  // namespace maskedkd::testing
