// Crops that are augmented later give the same images as those that the loader's workers augment.
#include "codecs/reference.hpp"
#include "data/record_images.hpp"
#include "maskedkd/base/error.hpp"
#include "maskedkd/data/batch.hpp"
#include "maskedkd/data/loader.hpp"
#include "shards/packed_set.hpp"
#include "support/temporary_directory.hpp"

#include <ATen/ops/equal.h>

#include <thread>

namespace maskedkd::testing {
namespace {

constexpr int kSize = 24;
constexpr std::int64_t kMostPixels = kRawCropPixels * kSize * kSize;

// Images with sides of 1 to 120: crops of up to six times as many pixels as are passed on unresized.
class RawCropsTest : public ::testing::Test {
 protected:
  RawCropsTest() {
    std::mt19937_64 random(8);
    std::vector<Record> records(40);
    for (Record& record : records) {
      record.shape = {static_cast<int>(random() % 120 + 1), static_cast<int>(random() % 120 + 1), 3};
      record.label = static_cast<std::int64_t>(random() % 3);
      record.bytes.resize(static_cast<std::size_t>(record.shape.height) * record.shape.width * 3);
      std::generate(record.bytes.begin(), record.bytes.end(), [&] { return static_cast<std::uint8_t>(random()); });
    }
    packed_ = write_set(folder_.path(), records, 13, {"ant", "bee", "cat"});
    set_.emplace(folder_.path());
  }

  static LoaderOptions options_of(int num_workers, bool raw_crops) {
    LoaderOptions options;
    options.seed = 7;
    options.augment.input_size = kSize;
    options.augment.erasing_probability = 0.5;
    options.augment.policy = RandAugmentPolicy::parse("rand-m9-mstd0.5-inc1-n3-p0.9");
    options.num_workers = num_workers;
    options.prefetch = 6;
    options.open_together = 3;
    options.raw_crops = raw_crops;
    return options;
  }

  // Three requests in a row ask for the same records.
  std::vector<MicroBatch> batches(const LoaderOptions& options) const {
    Loader loader(*set_, options, [next = 0u]() mutable -> std::optional<BatchRequest> {
      if (next == 60) {
        return std::nullopt;
      }
      BatchRequest request{0, next / 3, next % 3, {}};
      for (unsigned i = 0; i < 5 + next / 3 % 4; ++i) {
        request.indices.push_back((next / 3 * 5 + i * (next % 3 + 1)) % 40);
      }
      ++next;
      return request;
    });
    std::vector<MicroBatch> all;
    while (auto batch = loader.next()) {
      all.push_back(std::move(*batch));
    }
    return all;
  }

  static void expect_same(const std::vector<MicroBatch>& raw, const std::vector<MicroBatch>& finished) {
    ASSERT_EQ(raw.size(), finished.size());
    for (std::size_t i = 0; i < raw.size(); ++i) {
      ASSERT_TRUE(raw[i].crops);
      StagedViews views = raw[i].staged.views;
      const StagedViews& wanted = finished[i].staged.views;
      EXPECT_FALSE(views.pixels.defined());
      views.pixels = augmented_images(*raw[i].crops, at::kCPU);
      EXPECT_TRUE(at::equal(views.pixels, wanted.pixels)) << i;
      EXPECT_TRUE(at::equal(prepared_images(views, true), prepared_images(wanted, true))) << i;
      EXPECT_TRUE(at::equal(views.labels, wanted.labels)) << i;
    }
  }

  TemporaryDirectory folder_;
  PackedSet packed_;
  std::optional<ShardSet> set_;
};

TEST_F(RawCropsTest, GiveTheImagesOfWorkersThatAugment) {
  const std::vector<MicroBatch> finished = batches(options_of(2, false));
  ASSERT_EQ(finished.size(), 60u);
  for (const int num_workers : {1, 4}) {
    expect_same(batches(options_of(num_workers, true)), finished);
  }
}

TEST_F(RawCropsTest, LargeCropsAreResizedSoThatMemoryIsBounded) {
  std::int64_t num_resized = 0, num_raw = 0, most = 0;
  for (const MicroBatch& batch : batches(options_of(2, true))) {
    for (const TrainingPlan& plan : batch.crops->plans) {
      const std::int64_t pixels = std::int64_t{plan.crop.height} * plan.crop.width;
      ++(plan.crop.height == kSize && plan.crop.width == kSize ? num_resized : num_raw);
      most = std::max(most, pixels);
    }
    EXPECT_EQ(batch.crops->pieces.size(), 1u);
  }
  EXPECT_GT(num_resized, 50);
  EXPECT_GT(num_raw, 50);
  EXPECT_LE(most, kMostPixels);
  EXPECT_GT(most, kMostPixels / 2);
}

TEST_F(RawCropsTest, ADamagedRecordIsReplaced) {
  const ShardIndexEntry& entry = packed_.index.shards[1];
  flip_byte(folder_.path() / entry.name, entry.bytes_offset, 0xFF);  // record 13
  const auto skipping = [](int num_workers, bool raw_crops) {
    LoaderOptions options = options_of(num_workers, raw_crops);
    options.bad_records_limit = 1;
    return options;
  };
  expect_same(batches(skipping(4, true)), batches(skipping(1, false)));
  EXPECT_THROW(batches(options_of(2, true)), Error);
}

// Threads allocate 200 crops and one that is larger than a piece; none overlaps, and little memory is left unused.
TEST(CropMemory, CropsLieApartInAFewPieces) {
  constexpr std::size_t kCount = 200, kThreads = 4;
  RawCrops crops;
  crops.places.resize(kCount);
  CropMemory memory(crops, /*pinned=*/false);
  const auto size_of = [](std::size_t position) { return position == 7 ? 9'000'000 : 1 + position * 7919 % 300'000; };
  std::vector<std::thread> threads;
  for (std::size_t thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([&, thread] {
      for (std::size_t position = thread; position < kCount; position += kThreads) {
        const std::span<std::uint8_t> pixels = memory.allocate(position, size_of(position));
        ASSERT_EQ(pixels.size(), size_of(position));
        std::fill(pixels.begin(), pixels.end(), static_cast<std::uint8_t>(position));
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  std::size_t taken = 0, held = 0;
  for (std::size_t position = 0; position < kCount; ++position) {
    const auto [piece, offset] = crops.places[position];
    const std::uint8_t* begin = crops.pieces.at(piece).const_data_ptr<std::uint8_t>() + offset;
    EXPECT_TRUE(std::all_of(begin, begin + size_of(position), [&](std::uint8_t level) { return level == position; }));
    taken += size_of(position);
  }
  for (const at::Tensor& piece : crops.pieces) {
    held += static_cast<std::size_t>(piece.numel());
  }
  EXPECT_GT(crops.pieces.size(), 3u);
  EXPECT_LT(held, taken + 16'000'000);
}

TEST_F(RawCropsTest, AreRefusedForEvaluation) {
  LoaderOptions options = options_of(1, true);
  options.training = false;
  EXPECT_THROW(batches(options), Error);
}

}  // namespace
}  // namespace maskedkd::testing
