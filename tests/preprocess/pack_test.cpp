#include "maskedkd/io/posix.hpp"
#include "maskedkd/io/safetensors.hpp"
#include "maskedkd/shards/shard_reader.hpp"
#include "pack_program.hpp"
#include "preprocess/image_folder.hpp"
#include "support/temporary_directory.hpp"

#include <gtest/gtest.h>

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <fstream>

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

TEST(Pack, RawPixelsEqualPilsAndGrayStaysGrayFromIdx) {
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

// For each shard of a set: the number of its records, and their bytes.
std::vector<std::pair<std::int64_t, std::uint64_t>> fillings(const fs::path& directory) {
  std::vector<std::pair<std::int64_t, std::uint64_t>> found;
  const ShardSet set(directory);
  std::int64_t i = 0;
  for (const ShardIndexEntry& shard : read_shard_index(directory).shards) {
    found.emplace_back(shard.num_records, 0);
    for (const std::int64_t end = i + shard.num_records; i < end; ++i) {
      found.back().second += set.read(i).bytes.size();
    }
  }
  return found;
}

// Fills shards of at most `most` bytes one after the other with records of these sizes.
std::vector<std::pair<std::int64_t, std::uint64_t>> filled(const std::vector<std::uint64_t>& sizes,
                                                           std::uint64_t most) {
  std::vector<std::pair<std::int64_t, std::uint64_t>> shards;
  for (const std::uint64_t size : sizes) {
    if (shards.empty() || shards.back().second + size > most) {
      shards.emplace_back(0, 0);
    }
    shards.back().first += 1;
    shards.back().second += size;
  }
  return shards;
}

TEST(Pack, ShardsOfPixelsAreFilledToTheStatedSize) {
  const TemporaryDirectory folder;
  const auto pixels = read_safetensors(reference_path("plain.safetensors")).tensors;
  std::vector<std::uint64_t> whole, resized;
  for (std::size_t i = 0; i < pixels.size(); ++i) {
    const auto shape = pixels.at(std::to_string(i)).sizes();
    const std::int64_t shorter = std::min(shape[0], shape[1]), edge = std::min<std::int64_t>(shorter, 9);
    whole.push_back(static_cast<std::uint64_t>(3 * shape[0] * shape[1]));
    resized.push_back(static_cast<std::uint64_t>(3 * (edge * shape[0] / shorter) * (edge * shape[1] / shorter)));
  }
  std::map<std::string, std::string> expected;
  for (const int ranks : {0, 1, 3}) {
    const fs::path out = folder.path() / std::to_string(ranks);
    const ProcessResult result =
        run_pack(ranks, {"--data-path", reference_path("plain").string(), "--output-dir", out.string(), "--decoded",
                         "--shuffle", "false", "--shard-size", "5000"});
    ASSERT_EQ(result.exit_code, 0) << result.output;
    EXPECT_EQ(fillings(out), filled(whole, 5000));
    expected = expected.empty() ? digests_of(out) : expected;
    EXPECT_EQ(digests_of(out), expected) << ranks << " ranks";
  }
  const fs::path out = folder.path() / "resized";
  const ProcessResult result =
      run_pack(2, {"--data-path", reference_path("plain").string(), "--output-dir", out.string(), "--decoded",
                   "--resize", "9", "--shuffle", "false", "--shard-size", "2KiB"});
  ASSERT_EQ(result.exit_code, 0) << result.output;
  EXPECT_EQ(fillings(out), filled(resized, 2048));
}

TEST(Pack, ImagesWithoutAHeaderTakeNoSpaceInAShardOfPixels) {
  const TemporaryDirectory folder;
  const ProcessResult result =
      run_pack(2, {"--data-path", reference_path("broken").string(), "--output-dir", folder.path().string(),
                   "--decoded", "--on-broken", "skip", "--shuffle", "false", "--shard-size", "3000"});
  ASSERT_EQ(result.exit_code, 0) << result.output;
  std::int64_t records = 0;
  for (const auto& [count, bytes] : fillings(folder.path())) {
    records += count;
    EXPECT_TRUE(bytes <= 3000 || count == 1) << count << " records of " << bytes << " bytes";
  }
  EXPECT_EQ(records, 9);
}

// A colour profile and comments before the frame's header, longer than the part of the file that is read first.
TEST(Pack, AHeaderAfterALongProfileIsFound) {
  const TemporaryDirectory folder;
  const fs::path source = folder.path() / "images" / "one";
  fs::create_directories(source);
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(reference_path("plain") / "class 1")) {
    files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  for (const fs::path& path : files) {
    std::string bytes = read_text_file(path);
    if (path.extension() == ".jpg") {
      std::string profile;
      for (int part = 1; part <= 3; ++part) {  // ICC.1:2022, annex B.4, splits a profile into markers
        profile += "\xff\xe2\xff\xff" + std::string("ICC_PROFILE\0", 12) + static_cast<char>(part) + '\3' +
                   std::string(65535 - 16, 'p');
      }
      bytes.insert(2, profile);
    }
    write_file_atomically(source / path.filename(), bytes);
  }
  const fs::path out = folder.path() / "out";
  const ProcessResult result = run_pack(0, {"--data-path", source.parent_path().string(), "--output-dir", out.string(),
                                            "--decoded", "--shuffle", "false", "--shard-size", "4000"});
  ASSERT_EQ(result.exit_code, 0) << result.output;
  std::vector<std::uint64_t> sizes;
  const ShardSet set(out);
  for (std::int64_t i = 0; i < set.num_records(); ++i) {
    sizes.push_back(set.read(i).bytes.size());
  }
  EXPECT_EQ(fillings(out), filled(sizes, 4000));
  EXPECT_GT(fillings(out).size(), 1u);
}

TEST(Pack, BrokenImagesEndThePackingOrAreNamedAndLeftOut) {
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
  // Without skip the set is not complete, as it lacks three images.
  const ProcessResult strict = run_pack(2, {"--data-path", broken, "--output-dir", out, "--records-per-shard", "5"});
  EXPECT_EQ(strict.exit_code, 2) << strict.output;
  EXPECT_NE(strict.output.find("lacks 3 broken images"), std::string::npos) << strict.output;
  EXPECT_EQ(ShardSet(out).num_records(), 9);
}

TEST(Pack, ManyBrokenImagesAreNamedUpToTwentyAndThenCounted) {
  const TemporaryDirectory folder;
  const fs::path in = folder.path() / "in", out = folder.path() / "out";
  fs::create_directories(in / "a");
  for (int i = 0; i < 23; ++i) {
    std::ofstream(in / "a" / fmt::format("{}.jpg", i)) << "no image";
  }
  fs::copy_file(reference_path("broken") / "c0" / "00.png", in / "a" / "whole.png");
  const ProcessResult result =
      run_pack(1, {"--data-path", in.string(), "--output-dir", out.string(), "--on-broken", "skip", "--threads", "1"});
  ASSERT_EQ(result.exit_code, 0) << result.output;
  std::size_t num_named = 0;
  for (std::size_t at = 0; (at = result.output.find("left out /", at)) != std::string::npos; ++at) {
    ++num_named;
  }
  EXPECT_EQ(num_named, 20U) << result.output;
  EXPECT_NE(result.output.find("more than 20 images are broken"), std::string::npos) << result.output;
  EXPECT_NE(result.output.find("23 broken images left out"), std::string::npos) << result.output;
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
  const ProcessResult other = run_pack(2, {"--data-path", reference_path("plain").string(), "--output-dir",
                                           folder.path().string(), "--records-per-shard", "11"});
  EXPECT_EQ(other.exit_code, 2) << other.output;
  EXPECT_NE(other.output.find("contains another packed set"), std::string::npos) << other.output;
  EXPECT_EQ(digests_of(folder.path()), expected);
}

TEST(Pack, OfTwoPackersOfOneFolderOneIsRefused) {
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
