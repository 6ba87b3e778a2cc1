// An incomplete or damaged set is refused when it is opened, in one line that names the shard.
#include "maskedkd/shards/shard_reader.hpp"
#include "maskedkd/base/error.hpp"
#include "packed_set.hpp"
#include "support/process.hpp"
#include "support/temporary_directory.hpp"

#include <gtest/gtest.h>
#include <hdf5.h>

#include <string_view>
#include <utility>

namespace maskedkd::testing {
namespace {

namespace fs = std::filesystem;

class ShardReader : public ::testing::Test {
 protected:
  void SetUp() override { set_ = write_set(folder_.path(), 20, 6); }

  // The message of opening the set; "" if it can be opened.
  std::string refusal() const {
    try {
      const ShardSet opened(folder_.path());
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::usage) << error.what();
      EXPECT_NE(error.hint(), "") << error.what();
      EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos) << error.what();
      return error.what();
    }
    return "";
  }
  void expect_refused(const std::string& first, const std::string& second = "") const {
    const std::string message = refusal();
    EXPECT_NE(message.find(first), std::string::npos) << "'" << message << "' instead of " << first;
    EXPECT_NE(message.find(second), std::string::npos) << "'" << message << "' instead of " << second;
  }
  fs::path shard(std::int64_t i) const { return folder_.path() / shard_name(i); }
  fs::path index() const { return folder_.path() / kShardIndexName; }
  void change_index(const std::string& from, const std::string& to) const {
    std::string text = read_text_file(index());
    const std::size_t at = text.find(from);
    ASSERT_NE(at, std::string::npos) << from;
    write_file_atomically(index(), text.replace(at, from.size(), to));
  }
  // h5py changes a copy of shard 1 by each line of Python and corrects its checksum, and the index describes the
  // changed file. Opening the set must fail with the message beside the line ("": must succeed).
  void expect_forged_shards_refused(const std::vector<std::pair<std::string, std::string>>& changes) {
    const TemporaryDirectory forged;
    std::vector<std::string> command = {MASKEDKD_PYTHON, "-c",
                                        "import h5py, shutil, sys, zlib\n"
                                        "for i, change in enumerate(sys.argv[3:]):\n"
                                        "    path = f'{sys.argv[2]}/{i}'\n"
                                        "    shutil.copy(sys.argv[1], path)\n"
                                        "    with h5py.File(path, 'r+') as f:\n"
                                        "        exec(change)\n"
                                        "        crc = 0\n"
                                        "        for table in 'offsets', 'labels', 'checksums', 'shapes':\n"
                                        "            crc = zlib.crc32(f[table][()].tobytes(), crc)\n"
                                        "        f.attrs.modify('table_checksum', crc)\n",
                                        shard(1).string(), forged.path().string()};
    for (const auto& [change, message] : changes) {
      command.push_back(change);
    }
    const ProcessResult result = run_process(command);
    ASSERT_EQ(result.exit_code, 0) << result.output;
    ShardIndexEntry& entry = set_.index.shards[1];
    for (std::size_t i = 0; i < changes.size(); ++i) {
      SCOPED_TRACE(changes[i].first);
      fs::copy_file(forged.path() / std::to_string(i), shard(1), fs::copy_options::overwrite_existing);
      entry.size_bytes = fs::file_size(shard(1));
      entry.frame_sha256 = frame_digest(shard(1), entry);
      write_file_atomically(index(), serialise(set_.index));
      if (changes[i].second.empty()) {
        EXPECT_EQ(refusal(), "");
      } else {
        expect_refused(changes[i].second);
      }
    }
  }

  TemporaryDirectory folder_;
  PackedSet set_;
};

TEST_F(ShardReader, TheWholeSetOpens) { EXPECT_EQ(refusal(), ""); }

TEST_F(ShardReader, AMissingFolderOrIndexIsRefused) {
  EXPECT_NE(
      [&] {
        try {
          ShardSet(folder_.path() / "nowhere");
        } catch (const Error& error) {
          return std::string(error.what());
        }
        return std::string();
      }()
          .find("nowhere does not exist"),
      std::string::npos);
  fs::remove(index());
  expect_refused("has no index.json", "its packing was interrupted");
  for (std::int64_t i = 0; i < 4; ++i) {
    fs::remove(shard(i));
  }
  expect_refused("has no index.json");
  EXPECT_EQ(refusal().find("interrupted"), std::string::npos);
}

// The folder gets the shards only after the set was made from the bytes.
TEST_F(ShardReader, AnotherProcessGetsTheSetWithoutOpeningAShard) {
  const std::string bytes = ShardSet(folder_.path()).to_bytes();
  const TemporaryDirectory other;
  EXPECT_THROW(ShardSet::from_bytes(other.path(), bytes), Error) << "the folder has no set";
  fs::copy_file(index(), other.path() / kShardIndexName);
  const ShardSet set = ShardSet::from_bytes(other.path(), bytes);
  EXPECT_EQ(set.num_records(), 20);
  EXPECT_EQ(set.set_id(), set_.index.set_id);
  EXPECT_EQ(set.class_names(), set_.index.class_names);
  EXPECT_EQ(set.directory(), other.path());
  for (std::int64_t i = 0; i < 4; ++i) {
    fs::copy_file(shard(i), other.path() / shard_name(i));
  }
  for (std::size_t i = 0; i < set_.records.size(); ++i) {
    const Record record = set.read(static_cast<std::int64_t>(i));
    EXPECT_EQ(record.bytes, set_.records[i].bytes);
    EXPECT_EQ(record.label, set_.records[i].label);
    EXPECT_EQ(record.shape, set_.records[i].shape);
  }
  EXPECT_EQ(set.to_bytes(), bytes);
  for (std::size_t length = 0; length < bytes.size(); length += 97) {
    EXPECT_THROW(ShardSet::from_bytes(other.path(), std::string_view(bytes).substr(0, length)), Error) << length;
  }
}

TEST_F(ShardReader, AMissingShardIsRefused) {
  fs::remove(shard(2));
  expect_refused("shard-00002.h5 is missing");
}

TEST_F(ShardReader, ATruncatedShardIsRefused) {
  const std::uint64_t size = fs::file_size(shard(3));
  for (const std::uint64_t length : {size - 1, size / 2, std::uint64_t{8}, std::uint64_t{0}}) {
    fs::resize_file(shard(3), length);
    expect_refused("shard-00003.h5 has " + std::to_string(length) + " bytes instead of " + std::to_string(size));
  }
}

TEST_F(ShardReader, AShardOfAnotherSetOrPlaceIsRefused) {
  const TemporaryDirectory other;
  const PackedSet foreign =
      write_set(other.path(), set_.records, 6, set_.index.class_names, RecordEncoding::raw, "4567");
  fs::copy_file(other.path() / shard_name(1), shard(1), fs::copy_options::overwrite_existing);
  expect_refused("shard-00001.h5");
  // With an index that describes the file, only the set_id reveals it.
  set_.index.shards[1] = foreign.index.shards[1];
  write_file_atomically(index(), serialise(set_.index));
  expect_refused("shard-00001.h5 belongs to another set");
  fs::copy_file(shard(0), shard(1), fs::copy_options::overwrite_existing);
  expect_refused("shard-00001.h5");
}

TEST_F(ShardReader, ForeignFilesAreRefused) {
  // Another HDF5 file and a file that is not HDF5, both described by the index.
  const hid_t file = H5Fcreate(shard(1).c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
  ASSERT_GE(file, 0);
  H5Fclose(file);
  ShardIndexEntry& entry = set_.index.shards[1];
  entry = {shard_name(1), 6, fs::file_size(shard(1)), 0, 0, "", std::string(64, '0')};
  entry.frame_sha256 = frame_digest(shard(1), entry);
  write_file_atomically(index(), serialise(set_.index));
  expect_refused("shard-00001.h5 is not a valid shard", "format_version");
  write_file_atomically(shard(1), std::string(5000, 'x'));
  entry.size_bytes = 5000;
  entry.frame_sha256 = frame_digest(shard(1), entry);
  write_file_atomically(index(), serialise(set_.index));
  expect_refused("shard-00001.h5 is not a valid shard");
}

// --stage-to creates a folder with this name.
TEST_F(ShardReader, ASetIdThatIsAPathOrNotHexadecimalIsRefused) {
  for (const char* id : {"", "/../../../OWNED0", "..", "ABCD", "0123 abcd", "x\\ny"}) {
    write_file_atomically(index(), serialise(set_.index));
    change_index("\"0123abcd\"", "\"" + std::string(id) + "\"");
    expect_refused(
        "index.json is not a valid index of packed images: it has a set_id that is not 1 to 64 lower-case hex");
  }
}

TEST_F(ShardReader, TextsOfTheIndexAreShownInOneLine) {
  change_index("\"raw\"", R"("a\nb\u001b[31m")");
  expect_refused("it has the unknown encoding 'a?b?[31m'");
}

TEST_F(ShardReader, TablesThatContradictThemselvesAreRefused) {
  expect_forged_shards_refused(
      {{"pass", ""},
       {"f['labels'][2] = 3", "shard-00001.h5 is not a valid shard: record 2 has label 3, but there are 3 classes"},
       {"f['labels'][5] = -1", "record 5 has label -1, but there are 3 classes"},
       {"o = f['offsets'][()]; f['offsets'][2:4] = o[[3, 2]]", "the length of record 1 does not match its shape"},
       {"f['offsets'][0] = 1", "its offsets don't span its bytes"},
       {"f['offsets'][1] = 1 << 60", "shard-00001.h5 is not a valid shard: record 0 has impossible offsets"},
       {"f['shapes'][1, 1] = 1 << 30", "record 1 has an impossible shape"},
       {"f['shapes'][3, 0] += 1", "the length of record 3 does not match its shape"},
       {"f.attrs.modify('class_counts', f.attrs['class_counts'] + [1, 0, 0])",
        "its class counts don't agree with its labels"},
       {"f.attrs.modify('class_names', ['ant', 'bee', 'dog'])", "shard-00001.h5 does not agree with the set's index"},
       {"f.attrs.modify('num_shards', 5)", "shard-00001.h5 does not agree with the set's index"},
       {"f.attrs.modify('shard_index', 4)", "its shard_index is outside num_shards"},
       {"f.attrs.modify('encoding', 'zip')", "its encoding 'zip' is unknown"}});
}

TEST_F(ShardReader, AnInvalidIndexIsRefused) {
  const std::string whole = read_text_file(index());
  for (std::size_t length = 0; length < whole.size() - 2; length += 7) {
    write_file_atomically(index(), whole.substr(0, length));
    expect_refused("index.json is not a valid index of packed images");
  }
  for (const std::string text : {"{}", "[]", "null", "17", "\"x\"", "{\"format_version\": 1}", "\xFF\xFE"}) {
    write_file_atomically(index(), text);
    expect_refused("index.json is not a valid index of packed images");
  }
  const auto change = [&](const std::string& from, const std::string& to, const std::string& expected) {
    write_file_atomically(index(), whole);
    change_index(from, to);
    expect_refused(expected);
  };
  change("\"format_version\": 1", "\"format_version\": 2", "index.json has format 2");
  change("\"encoding\": \"raw\"", "\"encoding\": \"file\"", "does not agree with the set's index");
  change("\"num_records\": 20", "\"num_records\": 19", "class counts that don't add up to num_records");
  change("\"num_records\": 20", "\"num_records\": \"20\"", "a num_records that is not a whole number");
  change("\"num_records\": 6", "\"num_records\": 5", "records don't add up to num_records");
  change("shard-00001.h5", "../shard-00001.h5", "lists the shard '../shard-00001.h5' where shard-00001.h5 must be");
  change("\"bytes_offset\": ", "\"bytes_offset\": -", "shard-00000.h5");
  change("\"num_bytes\": ", "\"num_bytes\": 99999999999", "shard-00000.h5");
  change("\"bee\"", "\"bug\"", "does not agree with the set's index");
  // Fields that this program always writes are required.
  change("\"sha256\"", "\"sha512\"", "it lacks sha256");
  change("\"check\"", "\"checks\"", "it lacks check");
  change("\"structure\"", "\"none\"", "has the unknown check 'none'");
  change(set_.index.shards[0].sha256, "", "sha256 that is not 64 lower-case hex digits");
  write_file_atomically(index(), whole);
  EXPECT_EQ(refusal(), "");
}

// Users sometimes name the parent folder of the sets.
TEST_F(ShardReader, TheErrorForAParentFolderNamesTheSet) {
  const TemporaryDirectory parent;
  write_set(parent.path() / "val", 4, 2);
  try {
    ShardSet{parent.path()};
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("is not a packed set, but contains some"), std::string::npos)
        << error.what();
    EXPECT_EQ(error.hint(), "name " + (parent.path() / "val").string());
  }
}

// Names are reported if the shard has them, and left out when they can no longer be trusted.
TEST_F(ShardReader, ADamagedRecordIsNamedByTheFileThatItCameFrom) {
  const TemporaryDirectory folder;
  const fs::path path = folder.path() / shard_name(0);
  ShardWriter writer(path, {RecordEncoding::raw, "0123abcd", 0, 1, {"ant"}});
  for (int i = 0; i < 3; ++i) {
    writer.append(std::vector<std::uint8_t>(12, static_cast<std::uint8_t>(i)), 0, {2, 2, 3},
                  "ant/picture " + std::to_string(i) + "\n.jpg");
  }
  const ShardIndex described{RecordEncoding::raw, "0123abcd", 3, {"ant"}, {3}, {writer.finish()}};
  const std::uint64_t bytes_offset = described.shards[0].bytes_offset;
  write_file_atomically(folder.path() / kShardIndexName, serialise(described));
  const ShardSet set(folder.path());
  EXPECT_NE(set.describe(1).find("shard-00000.h5, record 1 (ant/picture 1?.jpg)"), std::string::npos)
      << set.describe(1);
  flip_byte(path, bytes_offset + 12, 1);
  EXPECT_THROW(set.read(1), BadRecord);
  EXPECT_NE(set.describe(1).find("(ant/picture 1"), std::string::npos) << "the frame is as good as before";
  flip_byte(path, 3000 < bytes_offset ? 3000 : bytes_offset - 1, 1);
  EXPECT_EQ(set.describe(1).find("ant/picture"), std::string::npos);
}

}  // namespace
}  // namespace maskedkd::testing
