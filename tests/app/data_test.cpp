// How the trainer gets its data, and the preview, with the real programs.
#include "app/small_run.hpp"
#include "maskedkd/codecs/image.hpp"
#include "maskedkd/shards/shard_reader.hpp"
#include "support/temporary_directory.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <set>

namespace maskedkd::testing {
namespace {

namespace fs = std::filesystem;

class DataTest : public ::testing::Test {
 protected:
  // The official layout: one folder with the sets train and val.
  DataTest() {
    pack_images(data_ / "train", 256);
    pack_images(data_ / "val", 64);
  }

  ProcessResult train(const fs::path& data, const std::string& name, const Arguments& more, int ranks = 1) const {
    Arguments arguments = more;
    for (const auto& [flag, value] : {std::pair("--epochs", "2"), {"--repeats", "3"}}) {
      if (std::find(more.begin(), more.end(), flag) == more.end()) {
        arguments.insert(arguments.end(), {flag, value});
      }
    }
    return run_process(on_ranks(ranks, "maskedkd_train", teacher_arguments(data, place_.path() / name, arguments)));
  }

  fs::path run(const std::string& name) const { return place_.path() / name; }

  // Damages the pixels of some records of a set; its index does not change.
  void damage(const std::vector<std::int64_t>& records, const std::string& name = "train") const {
    const ShardSet set(data_ / name);
    for (const std::int64_t record : records) {
      const ShardIndexEntry& entry = set.shard(static_cast<std::size_t>(record / 100));
      std::fstream file(data_ / name / entry.name, std::ios::in | std::ios::out | std::ios::binary);
      file.seekp(static_cast<std::streamoff>(entry.bytes_offset) + record % 100 * 256 + 17);
      file.put('\xA5').put('\x5A').put('\xA5');
    }
  }

  TemporaryDirectory place_;
  fs::path data_ = place_.path() / "imagenet";
};

TEST_F(DataTest, StagedShardsTheOfficialLayoutAndManyWorkersGiveTheSameRun) {
  const ProcessResult plain = train(data_ / "train", "plain", {"--eval-data-path", data_ / "val"});
  ASSERT_EQ(plain.exit_code, 0) << plain.output;
  const fs::path near = place_.path() / "near";
  const ProcessResult staged =
      train(data_, "staged", {"--stage-to", near, "--stage-leave-free", "0", "--workers", "3", "--prefetch", "9"}, 2);
  ASSERT_EQ(staged.exit_code, 0) << staged.output;
  EXPECT_NE(log_without_times(run("staged")).find("test_acc1"), std::string::npos) << "val was found beside train";
  expect_same_run(run("plain"), run("staged"), 16);
  EXPECT_GE(std::distance(fs::recursive_directory_iterator(near), fs::recursive_directory_iterator()), 3)
      << staged.output;

  const ProcessResult local = train(data_ / "train", "local", {"--repeat-locality"});
  ASSERT_EQ(local.exit_code, 0) << local.output;
  EXPECT_NE(log_without_times(run("local")), log_without_times(run("plain")));
  const ProcessResult changed = train(data_ / "train", "local", {"--repeat-locality", "false"});
  EXPECT_EQ(changed.exit_code, 2);
  EXPECT_NE(changed.output.find("--repeat-locality true, now it is false"), std::string::npos) << changed.output;
}

TEST_F(DataTest, ADamagedRecordStopsOrIsSkippedUpToALimit) {
  damage({3, 101, 255});
  const ProcessResult stopped = train(data_, "stopped", {}, 2);
  EXPECT_NE(stopped.exit_code, 0);
  EXPECT_NE(stopped.output.find("has another checksum than when it was packed"), std::string::npos) << stopped.output;
  const ProcessResult skipped = train(data_, "skipped", {"--on-bad-record", "skip", "--repeats", "1"});
  EXPECT_EQ(skipped.exit_code, 0) << skipped.output;
  for (const char* name : {"shard-00000.h5, record 3", "shard-00001.h5, record 1", "shard-00002.h5, record 55"}) {
    EXPECT_NE(skipped.output.find(name), std::string::npos) << skipped.output;
  }
  const ProcessResult limited =
      train(data_, "limited", {"--on-bad-record", "skip", "--bad-records-limit", "2", "--repeats", "1"});
  EXPECT_NE(limited.exit_code, 0);
  EXPECT_NE(limited.output.find("3 damaged records, more than --bad-records-limit 2"), std::string::npos)
      << limited.output;
}

TEST_F(DataTest, ADamagedRecordOfTheEvaluationSetStopsOrIsSkipped) {
  damage({40}, "val");
  const ProcessResult stopped = train(data_, "stopped", {});
  EXPECT_NE(stopped.exit_code, 0);
  EXPECT_NE(stopped.output.find("val/shard-00000.h5, record 40"), std::string::npos) << stopped.output;
  const ProcessResult skipped = train(data_, "skipped", {"--on-bad-record", "skip"});
  EXPECT_EQ(skipped.exit_code, 0) << skipped.output;
  EXPECT_NE(skipped.output.find("val/shard-00000.h5, record 40"), std::string::npos) << skipped.output;
  EXPECT_NE(log_without_times(run("skipped")).find("test_acc1"), std::string::npos);
}

TEST_F(DataTest, OptionsWithoutEffectOrWithInvalidValuesAreRefused) {
  for (const auto& [flags, message] : std::vector<std::pair<Arguments, std::string>>{
           {{"--bad-records-limit", "3"}, "the first damaged record ends the run"},
           {{"--on-bad-record", "skip", "--bad-records-limit", "0"}, "must be at least 1"},
           {{"--on-bad-record", "maybe"}, "choose from stop, skip"},
           {{"--stage-to", data_ / "train" / "index.json"}, "index.json"},
           {{"--stage-to", place_.path(), "--stage-leave-free", "1.5"}, "must lie in [0, 1)"},
           {{"--workers", "-1"}, "must not be below 0"}}) {
    const ProcessResult result = train(data_, "refused", flags);
    EXPECT_EQ(result.exit_code, 2) << message;
    EXPECT_NE(result.output.find(message), std::string::npos) << result.output;
  }
}

// Without augmentation the three pictures of a group are all the enlarged image; with it the first one still is, and
// most of the others are not.
TEST_F(DataTest, ThePreviewShowsImagesAndTheirAugmentations) {
  const fs::path output = place_.path() / "sheets" / "augmented.png";
  const auto sheet = [&](const Arguments& more) {
    Arguments arguments = {std::string(MASKEDKD_BIN_DIR) + "/maskedkd_preview",
                           "--data-path",
                           data_ / "train",
                           "--count",
                           "10",
                           "--input-size",
                           "16",
                           "--output",
                           output};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const ProcessResult result = run_process(arguments);
    EXPECT_EQ(result.exit_code, 0) << result.output;
    const std::string bytes = file_bytes(output);
    return decode_image({reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()});
  };
  constexpr int kEdge = 112, kCell = kEdge + 6, kGroup = 3 * kCell + 6;
  const auto picture = [&](const Image& image, int group, int position) {
    std::string pixels;  // every seventh pixel, as an image of 16 pixels is enlarged seven times
    const int top = 6 + group / 4 * kCell, left = 6 + group % 4 * kGroup + position * (kCell - 3);
    for (int y = 0; y < 16; ++y) {
      for (int x = 0; x < 16; ++x) {
        const auto pixel =
            image.pixels.begin() + (std::ptrdiff_t{top + 7 * y + 3} * image.width + left + 7 * x + 3) * 3;
        pixels.append(pixel, pixel + 3);
      }
    }
    return pixels;
  };
  const ShardSet set(data_ / "train");
  std::set<std::string> packed;
  for (std::int64_t i = 0; i < set.num_records(); ++i) {
    const Image image = decode_record(set.read(i), set.encoding());
    packed.emplace(image.pixels.begin(), image.pixels.end());
  }
  const Image same = sheet({"--crop-min-area", "1", "--flip", "0", "--erasing", "0", "--aa", "none", "--color-jitter",
                            "0", "--mixup", "0", "--cutmix", "0"});
  EXPECT_EQ(same.width, 4 * kGroup + 6);
  EXPECT_EQ(same.height, 3 * kCell + 6);
  std::set<std::string> shown;
  for (int group = 0; group < 10; ++group) {
    EXPECT_TRUE(packed.contains(picture(same, group, 0))) << group;
    EXPECT_EQ(picture(same, group, 1), picture(same, group, 0)) << group;
    EXPECT_EQ(picture(same, group, 2), picture(same, group, 0)) << group;
    shown.insert(picture(same, group, 0));
  }
  EXPECT_EQ(shown.size(), 10u);
  const Image other = sheet({"--seed", "3"});
  int num_augmented = 0, num_mixed = 0;
  for (int group = 0; group < 10; ++group) {
    EXPECT_TRUE(packed.contains(picture(other, group, 0)));
    num_augmented += picture(other, group, 1) != picture(other, group, 0);
    num_mixed += picture(other, group, 2) != picture(other, group, 1);
  }
  EXPECT_GE(num_augmented, 8);
  EXPECT_GE(num_mixed, 8);
}

TEST_F(DataTest, InvalidOptionsOfThePreviewAreRefused) {
  for (const auto& [flags, message] :
       std::vector<std::pair<Arguments, std::string>>{{{"--count", "300"}, "more than the 256 images"},
                                                      {{"--count", "7"}, "is odd"},
                                                      {{"--count", "0"}, "must lie in"},
                                                      {{"--step", "99"}, "there are 4 of 64"},
                                                      {{"--crop-min-area", "2"}, "--crop-min-area"}}) {
    Arguments arguments = {std::string(MASKEDKD_BIN_DIR) + "/maskedkd_preview", "--data-path", data_ / "train",
                           "--output", place_.path() / "no.png"};
    arguments.insert(arguments.end(), flags.begin(), flags.end());
    const ProcessResult result = run_process(arguments);
    EXPECT_EQ(result.exit_code, 2) << message;
    EXPECT_NE(result.output.find(message), std::string::npos) << result.output;
    EXPECT_FALSE(fs::exists(place_.path() / "no.png"));
  }
  const ProcessResult misnamed = run_process({std::string(MASKEDKD_BIN_DIR) + "/maskedkd_preview", "--data-path",
                                              data_ / "train", "--output", place_.path() / "no.jpg"});
  EXPECT_EQ(misnamed.exit_code, 2) << misnamed.output;
  EXPECT_NE(misnamed.output.find("no.jpg is not a PNG file"), std::string::npos) << misnamed.output;
}

}  // namespace
}  // namespace maskedkd::testing
