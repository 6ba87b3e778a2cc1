// Flipped bytes on a disk are noticed, and give errors instead of crashes.
#include "maskedkd/base/error.hpp"
#include "maskedkd/io/hdf5.hpp"
#include "maskedkd/shards/shard_reader.hpp"
#include "maskedkd/shards/shard_tables.hpp"
#include "packed_set.hpp"
#include "support/temporary_directory.hpp"

#include <gtest/gtest.h>

#include <cstdlib>

namespace maskedkd::testing {
namespace {

TEST(ShardDamage, AFlippedRecordIsNamedAndTheOthersStayReadable) {
  const TemporaryDirectory folder;
  const PackedSet set = write_set(folder.path(), 20, 6);
  const ShardSet read(folder.path());
  std::int64_t index = 0;
  for (std::size_t i = 0; i < set.index.shards.size(); ++i) {
    const ShardIndexEntry& entry = set.index.shards[i];
    std::uint64_t begin = 0;
    for (std::int64_t record = 0; record < entry.num_records; ++record, ++index) {
      const std::size_t length = set.records[static_cast<std::size_t>(index)].bytes.size();
      const std::uint64_t at = entry.bytes_offset + begin + length / 2;
      begin += length;
      flip_byte(folder.path() / entry.name, at, 0x10);
      const ShardSet reopened(folder.path());  // records are checked when they are read, not when the set is opened
      for (std::int64_t other = 0; other < read.num_records(); ++other) {
        if (other != index) {
          EXPECT_EQ(reopened.read(other).bytes, set.records[static_cast<std::size_t>(other)].bytes);
          continue;
        }
        for (const ShardSet* reader : {&read, &reopened}) {
          try {
            reader->read(other);
            ADD_FAILURE() << "record " << index << " was read";
          } catch (const Error& error) {
            EXPECT_NE(
                std::string(error.what()).find(fmt::format("{}, record {} has another checksum", entry.name, record)),
                std::string::npos)
                << error.what();
          }
        }
      }
      flip_byte(folder.path() / entry.name, at, 0x10);
    }
  }
}

// Every byte of a shard belongs to the frame or to a record, so every flip must be noticed. MASKEDKD_FLIPS=N sets the
// number of flips.
TEST(ShardDamage, RandomFlipsAreNoticed) {
  const char* setting = std::getenv("MASKEDKD_FLIPS");
  const long num_flips = setting != nullptr ? std::atol(setting) : 1500;
  const TemporaryDirectory folder;
  const PackedSet set = write_set(folder.path(), 8, 4, 5);
  std::mt19937_64 random(2);
  long when_opened = 0, when_read = 0;
  for (long flip = 0; flip < num_flips; ++flip) {
    const ShardIndexEntry& entry = set.index.shards[random() % 2];
    const std::filesystem::path path = folder.path() / entry.name;
    const std::uint64_t at = random() % entry.size_bytes;
    const unsigned mask = 1u << random() % 8;
    flip_byte(path, at, mask);
    bool opened = false;
    try {
      const ShardSet read(folder.path());
      opened = true;
      for (std::int64_t i = 0; i < read.num_records(); ++i) {
        read.read(i);
      }
      ADD_FAILURE() << "byte " << at << " of " << entry.name << " was flipped unseen";
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(entry.name), std::string::npos) << error.what();
      ++(opened ? when_read : when_opened);
    }
    flip_byte(path, at, mask);
  }
  std::printf("%ld flips: %ld noticed when the set was opened, %ld when the record was read\n", num_flips, when_opened,
              when_read);
  EXPECT_EQ(when_opened + when_read, num_flips);
  EXPECT_NO_THROW(ShardSet{folder.path()});
}

// Without the index's digest of the frame, as when the packer examines leftovers of an interrupted run.
TEST(ShardDamage, AFlippedTableIsNoticedWithoutTheIndex) {
  const TemporaryDirectory folder;
  const PackedSet set = write_set(folder.path(), 5, 5, 6);
  const std::filesystem::path path = folder.path() / shard_name(0);
  std::vector<std::pair<std::uint64_t, std::uint64_t>> tables;  // offset, bytes
  {
    const hdf5::Handle file = hdf5::open_file(path);
    for (const auto& [name, bytes] :
         {std::pair("offsets", 6 * 8), {"labels", 5 * 8}, {"checksums", 5 * 4}, {"shapes", 15 * 4}}) {
      tables.emplace_back(hdf5::describe_dataset(file, name).file_offset, bytes);
    }
  }
  for (const auto& [begin, bytes] : tables) {
    for (std::uint64_t at = begin; at < begin + bytes; ++at) {
      flip_byte(path, at, 1u << at % 8);
      EXPECT_THROW(ShardTables{path}, Error) << at;
      flip_byte(path, at, 1u << at % 8);
    }
  }
  EXPECT_NO_THROW(ShardTables{path});
}

}  // namespace
}  // namespace maskedkd::testing
