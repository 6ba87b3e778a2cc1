// A set that is not whole is refused when it is opened, in one line that names the member.
#include "maskedkd/shards/shard_reader.hpp"
#include "maskedkd/base/error.hpp"
#include "packed_set.hpp"
#include "support/temporary_directory.hpp"

#include <gtest/gtest.h>
#include <hdf5.h>

#include <functional>

namespace maskedkd::testing {
namespace {

namespace fs = std::filesystem;

class ShardReader : public ::testing::Test {
 protected:
  void SetUp() override { set_ = write_set(folder_.path(), 20, 6); }

  // The message when the set is opened; "" where it opens.
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
  // Writes shard 1 anew, changed, with an index that fits the file.
  void forge_shard(const std::function<void(Shard&)>& change) {
    Shard forged;
    forged.encoding = RecordEncoding::raw;
    forged.set_id = set_.index.set_id;
    forged.shard_index = 1;
    forged.num_shards = 4;
    forged.class_names = set_.index.class_names;
    for (std::size_t i = 6; i < 12; ++i) {
      forged.append(set_.records[i].bytes, set_.records[i].label, set_.records[i].shape);
    }
    change(forged);
    write_shard(shard(1), forged);
    ShardIndexEntry& entry = set_.index.shards[1];
    entry.size_bytes = fs::file_size(shard(1));
    entry.frame_sha256 = frame_digest(shard(1), entry);
    write_file_atomically(index(), serialise(set_.index));
  }

  TemporaryDirectory folder_;
  PackedSet set_;
};

TEST_F(ShardReader, TheWholeSetOpens) { EXPECT_EQ(refusal(), ""); }

TEST_F(ShardReader, NoFolderOrNoIndex) {
  EXPECT_NE(
      [&] {
        try {
          ShardSet(folder_.path() / "nowhere");
        } catch (const Error& error) {
          return std::string(error.what());
        }
        return std::string();
      }()
          .find("nowhere is not a folder"),
      std::string::npos);
  fs::remove(index());
  expect_refused("has no index.json", "its packing was interrupted");
  for (std::int64_t i = 0; i < 4; ++i) {
    fs::remove(shard(i));
  }
  expect_refused("has no index.json");
  EXPECT_EQ(refusal().find("interrupted"), std::string::npos);
}

TEST_F(ShardReader, AMissingMember) {
  fs::remove(shard(2));
  expect_refused("shard-00002.h5 is missing");
}

TEST_F(ShardReader, ATruncatedMember) {
  const std::uint64_t size = fs::file_size(shard(3));
  for (const std::uint64_t length : {size - 1, size / 2, std::uint64_t{8}, std::uint64_t{0}}) {
    fs::resize_file(shard(3), length);
    expect_refused("shard-00003.h5 has " + std::to_string(length) + " bytes instead of " + std::to_string(size));
  }
}

TEST_F(ShardReader, AMemberOfAnotherSetOrPlace) {
  const TemporaryDirectory other;
  const PackedSet foreign =
      write_set(other.path(), set_.records, 6, set_.index.class_names, RecordEncoding::raw, "4567");
  fs::copy_file(other.path() / shard_name(1), shard(1), fs::copy_options::overwrite_existing);
  expect_refused("shard-00001.h5");
  // The same with an index that knows the file: only the set's name tells.
  set_.index.shards[1] = foreign.index.shards[1];
  write_file_atomically(index(), serialise(set_.index));
  expect_refused("shard-00001.h5 belongs to another set");
  fs::copy_file(shard(0), shard(1), fs::copy_options::overwrite_existing);
  expect_refused("shard-00001.h5");
}

TEST_F(ShardReader, ForeignFiles) {
  // An HDF5 file of something else, and a file that is no HDF5, both vouched for by the index.
  const hid_t file = H5Fcreate(shard(1).c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
  ASSERT_GE(file, 0);
  H5Fclose(file);
  ShardIndexEntry& entry = set_.index.shards[1];
  entry = {shard_name(1), 6, fs::file_size(shard(1)), 0, 0, "", ""};
  entry.frame_sha256 = frame_digest(shard(1), entry);
  write_file_atomically(index(), serialise(set_.index));
  expect_refused("shard-00001.h5 is no good shard", "format_version");
  write_file_atomically(shard(1), std::string(5000, 'x'));
  entry.size_bytes = 5000;
  entry.frame_sha256 = frame_digest(shard(1), entry);
  write_file_atomically(index(), serialise(set_.index));
  expect_refused("shard-00001.h5 is no good shard");
}

// --stage-to makes a folder of this name.
TEST_F(ShardReader, ASetIdThatIsNoneOrAPath) {
  for (const char* id : {"", "/../../../OWNED0", "..", "ABCD", "0123 abcd", "x\\ny"}) {
    write_file_atomically(index(), serialise(set_.index));
    change_index("\"0123abcd\"", "\"" + std::string(id) + "\"");
    expect_refused("index.json is no index of packed images: it has a set_id that is none");
  }
}

TEST_F(ShardReader, WhatTheIndexNamesIsShownInOneLine) {
  change_index("\"raw\"", R"("a\nb\u001b[31m")");
  expect_refused("it 'a?b?[31m' is no way to store records");
}

TEST_F(ShardReader, ALabelBeyondTheClasses) {
  // The counts have no place for the label: HDF5 holds what a faulty writer could write.
  forge_shard([](Shard& forged) { forged.labels[2] = 3; });
  expect_refused("shard-00001.h5 is no good shard: record 2 has label 3, but there are 3 classes");
  forge_shard([](Shard& forged) { forged.labels[5] = -1; });
  expect_refused("record 5 has label -1, but there are 3 classes");
}

TEST_F(ShardReader, TablesThatContradictThemselves) {
  forge_shard([](Shard& forged) { std::swap(forged.offsets[2], forged.offsets[3]); });
  expect_refused("record 1 is longer or shorter than its shape");
  forge_shard([](Shard& forged) { forged.offsets[0] = 1; });
  expect_refused("its offsets don't span its bytes");
  forge_shard([](Shard& forged) { forged.offsets[1] = std::uint64_t{1} << 60; });
  expect_refused("shard-00001.h5 is no good shard: record 0 has impossible offsets");
  forge_shard([](Shard& forged) { forged.shapes[4] = 1 << 30; });
  expect_refused("record 1 has an impossible shape");
  forge_shard([](Shard& forged) { ++forged.shapes[9]; });
  expect_refused("record 3 is longer or shorter than its shape");
  forge_shard([](Shard& forged) { forged.class_counts[0] += 1; });
  expect_refused("its class counts don't agree with its labels");
  forge_shard([](Shard& forged) { forged.class_names = {"ant", "bee", "dog"}; });
  expect_refused("shard-00001.h5 does not agree with the set's index");
  forge_shard([](Shard& forged) { forged.num_shards = 5; });
  expect_refused("shard-00001.h5 does not agree with the set's index");
  forge_shard([](Shard& forged) { forged.shard_index = 4; });
  expect_refused("its shard_index is outside num_shards");
  forge_shard([](Shard&) {});
  EXPECT_EQ(refusal(), "");
}

TEST_F(ShardReader, ABrokenIndex) {
  const std::string whole = read_text_file(index());
  for (std::size_t length = 0; length < whole.size() - 2; length += 7) {
    write_file_atomically(index(), whole.substr(0, length));
    expect_refused("index.json is no index of packed images");
  }
  for (const std::string text : {"{}", "[]", "null", "17", "\"x\"", "{\"format_version\": 1}", "\xFF\xFE"}) {
    write_file_atomically(index(), text);
    expect_refused("index.json is no index of packed images");
  }
  const auto change = [&](const std::string& from, const std::string& to, const std::string& expected) {
    write_file_atomically(index(), whole);
    change_index(from, to);
    expect_refused(expected);
  };
  change("\"format_version\": 1", "\"format_version\": 2", "index.json has format 2");
  change("\"encoding\": \"raw\"", "\"encoding\": \"file\"", "does not agree with the set's index");
  change("\"num_records\": 20", "\"num_records\": 19", "class counts that don't add up to num_records");
  change("\"num_records\": 20", "\"num_records\": \"20\"", "no index of packed images");
  change("\"num_records\": 6", "\"num_records\": 5", "records don't add up to num_records");
  change("shard-00001.h5", "../shard-00001.h5", "out of its turn");
  change("\"bytes_offset\": ", "\"bytes_offset\": -", "shard-00000.h5");
  change("\"num_bytes\": ", "\"num_bytes\": 99999999999", "shard-00000.h5");
  change("\"bee\"", "\"bug\"", "does not agree with the set's index");
  write_file_atomically(index(), whole);
  EXPECT_EQ(refusal(), "");
}

// The folder of sets is named for a set now and then.
TEST_F(ShardReader, TheFolderThatHoldsASetNamesIt) {
  const TemporaryDirectory parent;
  write_set(parent.path() / "val", 4, 2);
  try {
    ShardSet{parent.path()};
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("is no packed set, but holds some"), std::string::npos) << error.what();
    EXPECT_EQ(error.hint(), "name " + (parent.path() / "val").string());
  }
}

// Names are said where the shard has them, and left out where they can no longer be trusted.
TEST_F(ShardReader, ADamagedRecordIsNamedByTheFileThatItCameFrom) {
  const TemporaryDirectory folder;
  Shard named;
  named.set_id = "0123abcd";
  named.num_shards = 1;
  named.class_names = {"ant"};
  named.encoding = RecordEncoding::raw;
  for (int i = 0; i < 3; ++i) {
    named.append(std::vector<std::uint8_t>(12, static_cast<std::uint8_t>(i)), 0, {2, 2, 3});
    named.names.append("ant/picture " + std::to_string(i) + "\n.jpg");
  }
  const fs::path path = folder.path() / shard_name(0);
  write_shard(path, named);
  std::uint64_t bytes_offset = 0;
  const Shard tables = read_shard_tables(path, bytes_offset);
  ShardIndex described{RecordEncoding::raw, "0123abcd", 3, {"ant"}, {3}, {describe_shard(path, tables, bytes_offset)}};
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
