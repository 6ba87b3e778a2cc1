#include "codecs/reference.hpp"
#include "maskedkd/base/error.hpp"
#include "maskedkd/io/digest.hpp"
#include "maskedkd/shards/shard_reader.hpp"
#include "packed_set.hpp"
#include "support/process.hpp"
#include "support/temporary_directory.hpp"

#include <sstream>
#include <thread>

namespace maskedkd::testing {
namespace {

void expect_same(const Record& a, const Record& b) {
  EXPECT_EQ(a.bytes, b.bytes);
  EXPECT_EQ(a.label, b.label);
  EXPECT_EQ(a.shape, b.shape);
}

TEST(Shard, RecordsAreReadAsTheyWereWritten) {
  for (const auto& [num_records, per_shard] : {std::pair(1, 1), {7, 7}, {8, 3}, {100, 9}, {30, 1000}}) {
    const TemporaryDirectory folder;
    const PackedSet set = write_set(folder.path(), num_records, per_shard, static_cast<std::uint64_t>(num_records));
    const ShardSet read(folder.path());
    ASSERT_EQ(read.num_records(), num_records);
    EXPECT_EQ(read.num_classes(), 3);
    EXPECT_EQ(read.class_names(), set.index.class_names);
    EXPECT_EQ(read.encoding(), RecordEncoding::raw);
    EXPECT_EQ(read.set_id(), "0123abcd");
    for (int i = num_records - 1; i >= 0; --i) {
      expect_same(read.read(i), set.records[static_cast<std::size_t>(i)]);
    }
    EXPECT_THROW(read.read(-1), Error);
    EXPECT_THROW(read.read(num_records), Error);
    EXPECT_EQ(read.describe(num_records - 1), (folder.path() / shard_name((num_records - 1) / per_shard)).string() +
                                                  ", record " + std::to_string((num_records - 1) % per_shard));
  }
}

TEST(Shard, TheSameContentGivesTheSameBytes) {
  const TemporaryDirectory one, two;
  write_set(one.path(), 20, 6);
  std::this_thread::sleep_for(std::chrono::milliseconds(1100));  // a time in the file would differ
  write_set(two.path(), 20, 6);
  for (const char* name : {"shard-00000.h5", "shard-00003.h5", "index.json"}) {
    EXPECT_EQ(sha256_of_file(one.path() / name), sha256_of_file(two.path() / name)) << name;
  }
}

TEST(Shard, AThousandClassesWithLongNamesFit) {
  const TemporaryDirectory folder;
  std::vector<std::string> names;
  for (int i = 0; i < 1000; ++i) {
    names.push_back(fmt::format("n{:08} Ça grüßt 犬 {}", i, std::string(80, 'x')));
  }
  std::mt19937_64 random(3);
  const std::vector<Record> records = {random_record(random, 1000), random_record(random, 1000)};
  write_set(folder.path(), records, 1, names);
  EXPECT_EQ(ShardSet(folder.path()).class_names(), names);
}

TEST(Shard, ManyThreadsCanReadAtOnce) {
  const TemporaryDirectory folder;
  const PackedSet set = write_set(folder.path(), 60, 7);
  const ShardSet read(folder.path());
  std::vector<std::thread> threads;
  std::vector<int> wrong(8, 0);
  for (std::size_t thread = 0; thread < wrong.size(); ++thread) {
    threads.emplace_back([&, thread] {
      std::mt19937_64 random(thread);
      for (int i = 0; i < 500; ++i) {
        const std::size_t index = random() % set.records.size();
        wrong[thread] += read.read(static_cast<std::int64_t>(index)).bytes != set.records[index].bytes ? 1 : 0;
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  EXPECT_EQ(wrong, std::vector<int>(8, 0));
}

std::string python_of_the_header() {
  std::istringstream header(
      read_text_file(std::filesystem::path(MASKEDKD_SOURCE_DIR) / "include/maskedkd/shards/shard.hpp"));
  std::string program;
  for (std::string line; std::getline(header, line);) {
    const bool begins = line.rfind("//   import h5py", 0) == 0;
    if ((begins || !program.empty()) && line.rfind("//   ", 0) == 0) {
      program += line.substr(5) + "\n";
    }
  }
  return program;
}

TEST(Shard, ThePythonLinesOfTheHeaderReadARecord) {
  const TemporaryDirectory folder;
  std::vector<Record> records;
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(reference_path("decode"))) {
    names.push_back(entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  for (std::size_t i = 0; i < 20; ++i) {
    const std::string text = read_text_file(reference_path("decode") / names[i * 7]);
    Record record{{text.begin(), text.end()}, static_cast<std::int64_t>(i % 3), {}};
    record.shape = read_image_shape(record.bytes);
    records.push_back(record);
  }
  write_set(folder.path(), records, 20, {"ant", "bee", "cat"}, RecordEncoding::file);
  const std::string program = python_of_the_header();
  ASSERT_NE(program.find("PIL.Image.open"), std::string::npos);
  const ProcessResult result =
      run_process({MASKEDKD_PYTHON, "-c",
                   "import os\nos.chdir('" + folder.path().string() + "')\n" + program +
                       "\nimport zlib\nprint(label, image.size[0], image.size[1])\n"
                       "with h5py.File('shard-00000.h5') as f:\n"
                       "    o, b = f['offsets'][:], f['bytes'][:]\n"
                       "    print(all(zlib.crc32(b[o[i]:o[i+1]].tobytes()) == f['checksums'][i] for i in range(20)))\n"
                       "    print(dict(f.attrs)['encoding'], list(f.attrs['class_names']), f.attrs['class_counts'],\n"
                       "          f['bytes'].chunks, f['bytes'].id.get_offset() > 0, f.attrs['format_version'])\n"});
  EXPECT_EQ(result.exit_code, 0) << result.output;
  const RecordShape& shape = records[17].shape;
  EXPECT_EQ(result.output,
            fmt::format("2 {} {}\nTrue\nfile ['ant', 'bee', 'cat'] [7 7 6] None True 1\n", shape.width, shape.height));
}

TEST(Shard, ASetIsFoundInItsFolderOrInTheFolderOfTheOfficialLayout) {
  const TemporaryDirectory folder;
  EXPECT_EQ(find_set(folder.path(), "train"), folder.path()) << "neither";
  write_set(folder.path() / "train", 2, 2);
  EXPECT_EQ(find_set(folder.path(), "train"), folder.path() / "train");
  EXPECT_EQ(find_set(folder.path(), "val"), folder.path());
  EXPECT_EQ(find_set(folder.path() / "train", "train"), folder.path() / "train");
  write_set(folder.path(), 2, 2);
  EXPECT_EQ(find_set(folder.path(), "train"), folder.path()) << "it is a set itself";
}

}  // namespace
}  // namespace maskedkd::testing
