// Damaged records: which ones stop the loader, and which records replace others.
#include "loader_fixture.hpp"
#include "maskedkd/base/error.hpp"

#include <spdlog/sinks/ostream_sink.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <array>
#include <memory>
#include <random>
#include <sstream>
#include <utility>

namespace maskedkd::testing {
namespace {

// Records 13 and 14 are damaged; 15 replaces both, with its label; up to the limit and not beyond.
TEST_F(LoaderTest, ADamagedRecordIsReplacedByTheNextGoodOneUpToALimit) {
  const ShardIndexEntry& entry = packed_.index.shards[1];
  const auto request = [] {
    return [first = true]() mutable -> std::optional<BatchRequest> {
      return std::exchange(first, false) ? std::optional(BatchRequest{0, 3, 0, {12, 13, 14, 13}}) : std::nullopt;
    };
  };
  flip_byte(folder_.path() / entry.name, entry.bytes_offset, 0xFF);
  flip_byte(folder_.path() / entry.name, entry.bytes_offset + packed_.records[13].bytes.size(), 0x01);
  for (const int num_workers : {1, 4}) {
    LoaderOptions options = options_of(num_workers, 2);
    options.bad_records_limit = 2;
    Loader loader(*set_, options, request());
    const auto batch = loader.next();
    ASSERT_TRUE(batch);
    EXPECT_EQ(loader.counts().bad_records, 2);
    EXPECT_EQ(values_of<std::int64_t>(batch->staged.views.labels),
              (std::vector<std::int64_t>{packed_.records[12].label, packed_.records[15].label,
                                         packed_.records[15].label, packed_.records[15].label}));
    // The result is that of a request for the replacing records.
    Loader expected(*set_, options_of(1, 1), [first = true]() mutable -> std::optional<BatchRequest> {
      return std::exchange(first, false) ? std::optional(BatchRequest{0, 3, 0, {12, 15, 15, 15}}) : std::nullopt;
    });
    EXPECT_EQ(content_of(*batch), content_of(*expected.next()));

    options.bad_records_limit = 1;
    Loader limited(*set_, options, request());
    try {
      limited.next();
      FAIL() << "two damaged records passed a limit of one";
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find("more than --bad-records-limit 1"), std::string::npos) << error.what();
    }
  }
}

// A truncated JPEG is damaged only for crops that reach the missing part. Which places of a batch get the next record
// instead must not depend on what else is open.
TEST_F(LoaderTest, ReplacedPlacesOfADamagedImageDoNotDependOnOtherBatches) {
  const TemporaryDirectory folder;
  std::mt19937_64 random(5);
  std::vector<Record> records;
  for (int i = 0; i < 6; ++i) {
    Image image{160, 120, std::vector<std::uint8_t>(160 * 120 * 3)};
    std::generate(image.pixels.begin(), image.pixels.end(), [&] { return static_cast<std::uint8_t>(random()); });
    std::vector<std::uint8_t> file = encode_jpeg(image, 90);
    if (i == 2) {
      file.resize(file.size() * 8 / 10);
    }
    records.push_back({file, i, {160, 120, 3}});
  }
  write_set(folder.path(), records, 6, {"a", "b", "c", "d", "e", "f"}, RecordEncoding::file);
  const ShardSet set(folder.path());
  const auto load = [&](int num_workers, int prefetch, int together) {
    LoaderOptions options = options_of(num_workers, prefetch);
    options.open_together = together;
    options.bad_records_limit = 3;
    Loader loader(set, options, [next = 0u]() mutable -> std::optional<BatchRequest> {
      return next == 12 ? std::nullopt : std::optional(BatchRequest{0, next++, 0, {2, 4, 2, 2}});
    });
    std::vector<std::vector<float>> all;
    while (const auto batch = loader.next()) {
      all.push_back(content_of(*batch));
    }
    return all;
  };
  const auto alone = load(1, 1, 1);
  const auto label_of = [](const std::vector<float>& content, std::size_t position) {
    return content[3 + 4 * kSize * kSize * 3 + position];
  };
  std::array<int, 2> seen{};  // of the damaged image, of its replacement
  for (const auto& content : alone) {
    for (const std::size_t position : {0, 2, 3}) {
      ASSERT_TRUE(label_of(content, position) == 2 || label_of(content, position) == 3);
      ++seen.at(label_of(content, position) == 2 ? 0 : 1);
    }
  }
  EXPECT_GT(seen[0], 3) << "crops above the damage";
  EXPECT_GT(seen[1], 3) << "crops that reach it";
  EXPECT_EQ(load(1, 12, 12), alone);
  EXPECT_EQ(load(4, 5, 2), alone);
}

// The packer accepts a JPEG whose data end early before an end marker, as its structure is valid. It does not end a
// training, but the first one is named, and the tenth gives the number of such images.
TEST_F(LoaderTest, AnImageThatIsDecodedDespiteDamageGivesOneWarning) {
  const TemporaryDirectory folder;
  Image image{160, 120, std::vector<std::uint8_t>(160 * 120 * 3, 90)};
  std::vector<std::uint8_t> file = encode_jpeg(image, 90);
  file.resize(file.size() - 200);
  file.insert(file.end(), {0xFF, 0xD9});
  write_set(folder.path(), std::vector<Record>(12, Record{file, 0, {160, 120, 3}}), 6, {"a"}, RecordEncoding::file);
  const ShardSet set(folder.path());
  std::ostringstream text;
  const auto logger = spdlog::default_logger();
  spdlog::set_default_logger(
      std::make_shared<spdlog::logger>("test", std::make_shared<spdlog::sinks::ostream_sink_mt>(text)));
  for (int time = 0; time < 2; ++time) {
    LoaderOptions options = options_of(2, 2);
    options.training = false;
    Loader loader(set, options, [next = 0]() mutable -> std::optional<BatchRequest> {
      return next == 12 ? std::nullopt : std::optional(BatchRequest{0, 0, 0, {next++}});
    });
    while (loader.next()) {
    }
    EXPECT_EQ(loader.counts().bad_records, 0);
  }
  spdlog::set_default_logger(logger);
  const std::string messages = text.str();
  EXPECT_EQ(std::count(messages.begin(), messages.end(), '\n'), 2) << messages;
  EXPECT_NE(messages.find("the image is damaged (Corrupt JPEG data"), std::string::npos) << messages;
  EXPECT_NE(messages.find("10 damaged images so far"), std::string::npos) << messages;
}

TEST_F(LoaderTest, ASetThatIsDamagedAllOverEndsTheLoading) {
  for (std::size_t i = 0; i < 50; ++i) {
    const ShardIndexEntry& entry = packed_.index.shards[i / 13];
    std::uint64_t at = entry.bytes_offset;
    for (std::size_t k = i / 13 * 13; k < i; ++k) {
      at += packed_.records[k].bytes.size();
    }
    flip_byte(folder_.path() / entry.name, at, 0x10);
  }
  LoaderOptions options = options_of(2, 2);
  options.bad_records_limit = 100;
  Loader loader(*set_, options, requests(3));
  try {
    loader.next();
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("every other record"), std::string::npos) << error.what();
  }
}

TEST_F(LoaderTest, AnErrorOfAWorkerComesInOrderWithShardAndRecord) {
  const ShardIndexEntry& entry = packed_.index.shards[1];
  flip_byte(folder_.path() / entry.name, entry.bytes_offset, 0xFF);  // record 13
  for (const int num_workers : {1, 4}) {
    Loader loader(*set_, options_of(num_workers, 4), [next = std::int64_t{0}]() mutable {
      ++next;
      return std::optional(BatchRequest{0, static_cast<std::uint32_t>(next), 0, {next - 1}});
    });
    for (int i = 0; i < 13; ++i) {
      ASSERT_TRUE(loader.next());
    }
    try {
      loader.next();
      FAIL() << "a damaged record was handed out";
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find("shard-00001.h5, record 0"), std::string::npos) << error.what();
    }
  }
}

TEST_F(LoaderTest, ARecordThatCanNotBeDecodedIsNamed) {
  const TemporaryDirectory folder;
  const std::string text = "no image at all";
  write_set(folder.path(), {Record{{text.begin(), text.end()}, 0, {4, 4, 3}}}, 1, {"ant"}, RecordEncoding::file);
  const ShardSet set(folder.path());
  Loader loader(set, options_of(2, 2), [] { return std::optional(BatchRequest{0, 0, 0, {0}}); });
  try {
    loader.next();
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("shard-00000.h5, record 0: neither JPEG nor PNG"), std::string::npos)
        << error.what();
  }
}

}  // namespace
}  // namespace maskedkd::testing
