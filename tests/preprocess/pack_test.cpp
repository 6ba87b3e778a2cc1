#include "maskedkd/images/shard_reader.hpp"
#include "maskedkd/io/posix.hpp"
#include "maskedkd/io/safetensors.hpp"
#include "pack_program.hpp"
#include "preprocess/image_folder.hpp"
#include "support/temporary_directory.hpp"

#include <gtest/gtest.h>

#include <cstring>

namespace maskedkd::testing {
namespace {

namespace fs = std::filesystem;

TEST(Pack, TheFilesAreTheSameForEveryNumberOfRanks) {
  const TemporaryDirectory folder;
  const std::string plain = reference_path("plain").string();
  std::map<std::string, std::string> expected;
  for (const int ranks : {0, 1, 2, 3}) {
    const fs::path out = folder.path() / std::to_string(ranks);
    const ProcessResult result = run_pack(
        ranks, {"--data-path", plain, "--output-dir", out.string(), "--records-per-shard", "7", "--shuffle", "false"});
    ASSERT_EQ(result.exit_code, 0) << result.output;
    EXPECT_NE(result.output.find("61 images of 4 classes in 9 shards"), std::string::npos) << result.output;
    const auto digests = digests_of(out);
    EXPECT_EQ(digests.size(), 10u);
    expected = expected.empty() ? digests : expected;
    EXPECT_EQ(digests, expected) << ranks << " ranks";
  }
  const ShardSet set(folder.path() / "2");
  const ImageFolder source = ImageFolder::scan(plain);
  ASSERT_EQ(set.num_records(), source.size());
  for (std::int64_t i = 0; i < set.num_records(); ++i) {
    const Record packed = set.read(i), original = source.read(i, {}).record;
    EXPECT_EQ(packed.bytes, original.bytes);
    EXPECT_EQ(packed.label, original.label);
    EXPECT_EQ(packed.shape, original.shape);
  }
}

TEST(Pack, RawPixelsArePilsAndGrayStaysGrayFromIdx) {
  const TemporaryDirectory folder;
  const fs::path raw = folder.path() / "raw", idx = folder.path() / "idx";
  ProcessResult result = run_pack(2, {"--data-path", reference_path("plain").string(), "--output-dir", raw.string(),
                                      "--decoded", "--shuffle", "false", "--records-per-shard=20"});
  ASSERT_EQ(result.exit_code, 0) << result.output;
  const ShardSet set(raw);
  EXPECT_EQ(set.encoding(), RecordEncoding::raw);
  const auto pixels = read_safetensors(reference_path("plain.safetensors")).tensors;
  for (std::int64_t i = 0; i < set.num_records(); ++i) {
    const Record record = set.read(i);
    const at::Tensor& expected = pixels.at(std::to_string(i));
    ASSERT_EQ(static_cast<std::int64_t>(record.bytes.size()), expected.numel());
    for (std::size_t k = 0; k < record.bytes.size(); ++k) {
      ASSERT_LE(std::abs(int{record.bytes[k]} - int{expected.const_data_ptr<std::uint8_t>()[k]}), 2);
    }
  }
  result = run_pack(2, {"--source", "idx", "--images", reference_path("images.idx.gz").string(), "--labels",
                        reference_path("labels.idx").string(), "--output_dir", idx.string(), "--class-names",
                        "top,trouser,pullover,dress,coat,sandal,shirt,sneaker,bag,boot", "--shuffle=false"});
  ASSERT_EQ(result.exit_code, 0) << result.output;
  const ShardSet fashion(idx);
  ASSERT_EQ(fashion.num_records(), 10000);
  EXPECT_EQ(fashion.class_names()[8], "bag");
  const auto expected = read_safetensors(reference_path("idx.safetensors")).tensors;
  for (std::int64_t i = 0; i < 10000; ++i) {
    const Record record = fashion.read(i);
    ASSERT_EQ(record.shape, (RecordShape{28, 28, 1}));
    ASSERT_EQ(std::memcmp(record.bytes.data(), expected.at("images").const_data_ptr<std::uint8_t>() + i * 784, 784), 0);
    ASSERT_EQ(record.label, expected.at("labels").const_data_ptr<std::uint8_t>()[i]);
  }
}

TEST(Pack, BrokenImagesEndItOrAreNamedAndLeftOut) {
  const TemporaryDirectory folder;
  const std::string broken = reference_path("broken").string(), out = (folder.path() / "out").string();
  const ProcessResult fatal = run_pack(2, {"--data-path", broken, "--output-dir", out, "--shuffle", "false"});
  EXPECT_EQ(fatal.exit_code, 1) << fatal.output;
  EXPECT_NE(fatal.output.find("c0/04.png is broken: neither JPEG nor PNG"), std::string::npos) << fatal.output;
  EXPECT_NE(fatal.output.find("--on-broken skip"), std::string::npos);
  EXPECT_LT(fatal.seconds, 10);
  EXPECT_FALSE(fs::exists(fs::path(out) / "index.json"));
  const ProcessResult skip =
      run_pack(2, {"--data-path", broken, "--output-dir", out, "--on-broken", "skip", "--records-per-shard", "5"});
  ASSERT_EQ(skip.exit_code, 0) << skip.output;
  for (const char* name : {"left out ", "c0/04.png: ", "c1/03.jpg: ", "c1/09.jpg: ", "3 broken images left out"}) {
    EXPECT_NE(skip.output.find(name), std::string::npos) << name << " in " << skip.output;
  }
  EXPECT_EQ(ShardSet(out).num_records(), 9);
  // Complete is what was asked for: without skip the set lacks three images.
  const ProcessResult strict = run_pack(2, {"--data-path", broken, "--output-dir", out, "--records-per-shard", "5"});
  EXPECT_EQ(strict.exit_code, 2) << strict.output;
  EXPECT_NE(strict.output.find("lacks 3 broken images"), std::string::npos) << strict.output;
  EXPECT_EQ(ShardSet(out).num_records(), 9);
}

TEST(Pack, ASecondCallFindsItPackedAndALostShardIsPackedAgain) {
  const TemporaryDirectory folder;
  const std::vector<std::string> arguments = {"--data-path",         reference_path("plain").string(),
                                              "--output-dir",        folder.path().string(),
                                              "--records-per-shard", "10"};
  ASSERT_EQ(run_pack(2, arguments).exit_code, 0);
  const auto expected = digests_of(folder.path());
  const ProcessResult again = run_pack(2, arguments);
  EXPECT_EQ(again.exit_code, 0);
  EXPECT_NE(again.output.find("packed already"), std::string::npos) << again.output;
  EXPECT_EQ(digests_of(folder.path()), expected);
  fs::remove(folder.path() / "shard-00003.h5");
  fs::resize_file(folder.path() / "shard-00005.h5", 1000);
  const ProcessResult mended = run_pack(2, arguments);
  EXPECT_EQ(mended.exit_code, 0) << mended.output;
  EXPECT_NE(mended.output.find("5 shards kept from before"), std::string::npos) << mended.output;
  EXPECT_EQ(digests_of(folder.path()), expected);
  // Another set does not overwrite this one.
  const ProcessResult other = run_pack(2, {"--data-path", reference_path("plain").string(), "--output-dir",
                                           folder.path().string(), "--records-per-shard", "11"});
  EXPECT_EQ(other.exit_code, 2) << other.output;
  EXPECT_NE(other.output.find("holds another packed set"), std::string::npos) << other.output;
  EXPECT_EQ(digests_of(folder.path()), expected);
}

TEST(Pack, TwoPackersOfOneFolder) {
  const TemporaryDirectory folder;
  const fs::path out = folder.path() / "out", alone = folder.path() / "alone";
  const std::vector<std::string> arguments = {"--data-path", reference_path("plain").string(), "--records-per-shard",
                                              "2", "--output-dir"};
  const auto into = [&](const fs::path& place) {
    std::vector<std::string> all = arguments;
    all.push_back(place.string());
    return all;
  };
  fs::create_directories(out);
  {
    const DirectoryLock held(out, "a test, process 1");
    const ProcessResult refused = run_pack(2, into(out));
    EXPECT_EQ(refused.exit_code, 2) << refused.output;
    EXPECT_NE(refused.output.find("is in use by a test, process 1"), std::string::npos) << refused.output;
    EXPECT_LT(refused.seconds, 10);
    EXPECT_FALSE(fs::exists(out / "index.json"));
  }
  BackgroundProcess one(pack_command(2, into(out))), two(pack_command(2, into(out)));
  const ProcessResult first = one.wait(), second = two.wait();
  EXPECT_TRUE(first.exit_code == 0 || second.exit_code == 0) << first.output << second.output;
  for (const ProcessResult* result : {&first, &second}) {
    if (result->exit_code != 0) {
      EXPECT_EQ(result->exit_code, 2) << result->output;
      EXPECT_NE(result->output.find("is in use by maskedkd_pack on "), std::string::npos) << result->output;
    }
  }
  ASSERT_EQ(run_pack(0, into(alone)).exit_code, 0);
  EXPECT_EQ(digests_of(out), digests_of(alone));
}

}  // namespace
}  // namespace maskedkd::testing
