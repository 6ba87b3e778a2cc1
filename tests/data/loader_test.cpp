#include "maskedkd/data/loader.hpp"
#include "images/packed_set.hpp"
#include "images/reference.hpp"
#include "maskedkd/base/error.hpp"
#include "maskedkd/base/philox.hpp"
#include "support/temporary_directory.hpp"

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <fstream>
#include <thread>

namespace maskedkd::testing {
namespace {

using namespace std::chrono_literals;

constexpr int kSize = 24;

class LoaderTest : public ::testing::Test {
 protected:
  void SetUp() override {
    packed_ = write_set(folder_.path(), 50, 13);
    set_ = std::make_unique<ShardSet>(folder_.path());
  }

  static LoaderOptions options_of(int num_workers, int prefetch, bool training = true) {
    LoaderOptions options;
    options.training = training;
    options.seed = 99;
    options.augment.input_size = kSize;
    options.augment.erasing_probability = 0.5;
    options.num_workers = num_workers;
    options.prefetch = prefetch;
    return options;
  }

  // `count` batches of 3 to 6 records, no two addresses alike.
  static Loader::RequestSource requests(int count, std::atomic<int>* taken = nullptr) {
    return [next = 0, count, taken]() mutable -> std::optional<BatchRequest> {
      if (next == count) {
        return std::nullopt;
      }
      BatchRequest request{static_cast<std::uint32_t>(next / 20),
                           static_cast<std::uint32_t>(next % 20),
                           static_cast<std::uint32_t>(next % 3),
                           {}};
      for (int i = 0; i < 3 + next % 4; ++i) {
        request.indices.push_back((next * 7 + i * 11) % 50);
      }
      ++next;
      if (taken != nullptr) {
        ++*taken;
      }
      return request;
    };
  }

  // Everything that a batch holds, in a form that can be compared.
  static std::vector<float> content_of(const MicroBatch& batch) {
    std::vector<float> all = {static_cast<float>(batch.request.epoch), static_cast<float>(batch.request.step),
                              static_cast<float>(batch.request.micro_batch)};
    for (const std::uint8_t value : values_of<std::uint8_t>(batch.images)) {
      all.push_back(value);
    }
    for (const std::int64_t label : values_of<std::int64_t>(batch.labels)) {
      all.push_back(static_cast<float>(label));
    }
    for (const auto& erasures : batch.erasures) {
      all.push_back(static_cast<float>(erasures.size()));
      for (const auto& [box, noise] : erasures) {
        for (const int value : {box.top, box.left, box.height, box.width}) {
          all.push_back(static_cast<float>(value));
        }
        all.insert(all.end(), noise.begin(), noise.end());
      }
    }
    return all;
  }

  std::vector<std::vector<float>> all_of(const LoaderOptions& options, int count) const {
    Loader loader(*set_, options, requests(count));
    std::vector<std::vector<float>> all;
    while (const auto batch = loader.next()) {
      all.push_back(content_of(*batch));
    }
    EXPECT_FALSE(loader.next());  // and again
    return all;
  }

  TemporaryDirectory folder_;
  PackedSet packed_;
  std::unique_ptr<ShardSet> set_;
};

TEST_F(LoaderTest, OrderAndContentAreTheSameForAnyNumberOfWorkers) {
  const auto expected = all_of(options_of(1, 1), 80);
  ASSERT_EQ(expected.size(), 80u);
  for (const int num_workers : {1, 2, 4, 7}) {
    for (const int prefetch : {1, 2, 5, 100}) {
      EXPECT_TRUE(all_of(options_of(num_workers, prefetch), 80) == expected) << num_workers << " workers, " << prefetch;
    }
  }
}

// Repeated augmentation: nine requests for the same eight records in other orders. However many are open at a time, the
// content is what each request alone gives; opened together, a record is decoded once for all of them.
TEST_F(LoaderTest, ARecordThatSeveralBatchesWantIsDecodedOnceForThem) {
  constexpr int kBatches = 9, kSize8 = 8;
  const auto source = [] {
    return [next = 0u]() mutable -> std::optional<BatchRequest> {
      if (next == kBatches) {
        return std::nullopt;
      }
      BatchRequest request{0, next / 3, next % 3, {}};
      for (unsigned i = 0; i < kSize8; ++i) {
        request.indices.push_back((i * 3 + next) % kSize8 + 8 * (next / 3));
      }
      ++next;
      return request;
    };
  };
  const auto load = [&](int num_workers, int prefetch, int together, Loader::Counts& counts) {
    LoaderOptions options = options_of(num_workers, prefetch);
    options.open_together = together;
    Loader loader(*set_, options, source());
    std::vector<std::vector<float>> all;
    while (const auto batch = loader.next()) {
      all.push_back(content_of(*batch));
    }
    counts = loader.counts();
    return all;
  };
  Loader::Counts counts;
  const auto alone = load(1, 1, 1, counts);
  ASSERT_EQ(alone.size(), std::size_t{kBatches});
  EXPECT_EQ(counts.records_decoded, kBatches * kSize8);
  EXPECT_EQ(counts.images_made, kBatches * kSize8);
  for (const int num_workers : {1, 3}) {
    EXPECT_EQ(load(num_workers, 3, 3, counts), alone);
    EXPECT_EQ(counts.records_decoded, kBatches * kSize8 / 3) << num_workers << " workers";
    EXPECT_EQ(counts.images_made, kBatches * kSize8);
    EXPECT_EQ(load(num_workers, 2, 7, counts), alone) << "no more is opened together than may be open";
    EXPECT_EQ(load(num_workers, 9, 2, counts), alone);
    EXPECT_LT(counts.records_decoded, kBatches * kSize8);
  }
}

// A batch's memory is used again, but never while somebody still looks at it.
TEST_F(LoaderTest, BatchesThatAreKeptAreNotWrittenOver) {
  Loader loader(*set_, options_of(3, 2), requests(60));
  std::vector<std::pair<at::Tensor, std::vector<std::uint8_t>>> kept;
  int num = 0;
  while (const auto batch = loader.next()) {
    if (++num % 2 == 0) {  // a view is a reference too
      kept.emplace_back(batch->images[0], values_of<std::uint8_t>(batch->images[0]));
    }
  }
  ASSERT_EQ(kept.size(), 30u);
  for (const auto& [view, values] : kept) {
    EXPECT_EQ(values_of<std::uint8_t>(view), values);
  }
}

TEST_F(LoaderTest, ABatchIsAFunctionOfItsAddressNotOfItsTurn) {
  const auto load = [&](const LoaderOptions& options, const BatchRequest& request) {
    Loader loader(*set_, options, [first = true, &request]() mutable -> std::optional<BatchRequest> {
      return std::exchange(first, false) ? std::optional(request) : std::nullopt;
    });
    return content_of(*loader.next());
  };
  const BatchRequest request{3, 17, 2, {41, 5, 5, 30}};
  const auto first = load(options_of(2, 4), request);
  EXPECT_EQ(load(options_of(1, 1), request), first);
  const auto without_address = [](std::vector<float> content) {
    return std::vector<float>(content.begin() + 3, content.end());
  };
  for (const BatchRequest& other :
       {BatchRequest{4, 17, 2, request.indices}, {3, 18, 2, request.indices}, {3, 17, 1, request.indices}}) {
    EXPECT_NE(without_address(load(options_of(1, 1), other)), without_address(first));
  }
  LoaderOptions other_seed = options_of(1, 1);
  other_seed.seed = 100;
  EXPECT_NE(load(other_seed, request), first);
  // The same record twice in a batch is seen through two crops.
  constexpr int kImage = kSize * kSize * 3;
  EXPECT_FALSE(std::equal(first.begin() + 3 + kImage, first.begin() + 3 + 2 * kImage, first.begin() + 3 + 2 * kImage));
}

TEST_F(LoaderTest, EvaluationGivesTheImagesThemselves) {
  const TemporaryDirectory folder;
  std::mt19937_64 random(4);
  std::vector<Record> records(9);
  for (std::size_t i = 0; i < records.size(); ++i) {
    records[i] = {std::vector<std::uint8_t>(kSize * kSize * 3), static_cast<std::int64_t>(i % 3), {kSize, kSize, 3}};
    std::generate(records[i].bytes.begin(), records[i].bytes.end(),
                  [&] { return static_cast<std::uint8_t>(random()); });
  }
  write_set(folder.path(), records, 4, {"ant", "bee", "cat"});
  const ShardSet set(folder.path());
  LoaderOptions options = options_of(3, 2, /*training=*/false);
  options.augment.evaluation_crop = 1;
  Loader loader(set, options, [begin = std::int64_t{0}]() mutable -> std::optional<BatchRequest> {
    begin += 3;
    return begin > 9 ? std::nullopt : std::optional(BatchRequest{0, 0, 0, {begin - 3, begin - 2, begin - 1}});
  });
  for (std::size_t first = 0; first < 9; first += 3) {
    const auto batch = loader.next();
    ASSERT_TRUE(batch);
    EXPECT_TRUE(batch->erasures.empty());
    const auto pixels = values_of<std::uint8_t>(batch->images);
    for (std::size_t i = 0; i < 3; ++i) {
      EXPECT_TRUE(std::equal(records[first + i].bytes.begin(), records[first + i].bytes.end(),
                             pixels.begin() + static_cast<std::ptrdiff_t>(i * kSize * kSize * 3)));
      EXPECT_EQ(batch->labels.const_data_ptr<std::int64_t>()[i], records[first + i].label);
    }
  }
  EXPECT_FALSE(loader.next());
}

TEST_F(LoaderTest, NoiseIsStandardNormal) {
  Loader loader(*set_, options_of(2, 4), requests(100));
  double count = 0, sum = 0, squares = 0;
  while (const auto batch = loader.next()) {
    for (const auto& erasures : batch->erasures) {
      for (const Erasure& erasure : erasures) {
        for (const float value : erasure.noise) {
          ++count;
          sum += value;
          squares += double{value} * value;
        }
      }
    }
  }
  ASSERT_GT(count, 20000);
  EXPECT_NEAR(sum / count, 0, 4.5 / std::sqrt(count));
  EXPECT_NEAR(squares / count, 1, 4.5 * std::sqrt(2 / count));
}

TEST_F(LoaderTest, NeverMoreThanPrefetchIsAhead) {
  for (const auto& [num_workers, prefetch] : {std::pair(1, 1), {4, 2}, {2, 6}, {8, 3}}) {
    std::atomic<int> taken = 0;
    Loader loader(*set_, options_of(num_workers, prefetch), requests(1000, &taken));
    const auto settles_at = [&](int expected) {
      for (int i = 0; i < 10000 && taken < expected; ++i) {
        std::this_thread::sleep_for(2ms);
      }
      std::this_thread::sleep_for(20ms);
      EXPECT_EQ(taken, expected) << num_workers << " workers, prefetch " << prefetch;
    };
    settles_at(prefetch);
    for (int handed_out = 1; handed_out <= 5; ++handed_out) {
      ASSERT_TRUE(loader.next());
      settles_at(prefetch + handed_out);
    }
  }
}

TEST_F(LoaderTest, AWorkersErrorComesInItsTurnWithShardAndRecord) {
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

// Records 13 and 14 are damaged, 15 stands in for both, with its label; up to the limit and not beyond.
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
    EXPECT_EQ(values_of<std::int64_t>(batch->labels),
              (std::vector<std::int64_t>{packed_.records[12].label, packed_.records[15].label,
                                         packed_.records[15].label, packed_.records[15].label}));
    // The same as if the set had been asked for the records that took their places.
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

// A JPEG whose data end early is damaged for the crops that reach so far. Which places of a batch get the next record
// instead does not depend on what else is open.
TEST_F(LoaderTest, WhatADamagedImageIsReplacedInDoesNotDependOnItsCompany) {
  const TemporaryDirectory folder;
  std::mt19937_64 random(5);
  std::vector<Record> records;
  for (int i = 0; i < 6; ++i) {
    Image image{160, 120, std::vector<std::uint8_t>(160 * 120 * 3)};
    std::generate(image.pixels.begin(), image.pixels.end(), [&] { return static_cast<std::uint8_t>(random()); });
    std::vector<std::uint8_t> file = encode_jpeg(image, 90);
    if (i == 2) {
      file.resize(file.size() * 8 / 10);
      file.insert(file.end(), {0xFF, 0xD9});
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
  std::array<int, 2> seen{};  // of the image itself, of the one after it
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

TEST_F(LoaderTest, WorkersThatCanNotBeStartedAreAnError) {
  // In a child whose threads are limited: the limit would stay.
  const pid_t child = ::fork();
  if (child == 0) {
    rlimit none{256 << 20, 256 << 20};  // of address space: far less than 4,000 stacks
    rlimit now{};
    getrlimit(RLIMIT_AS, &now);
    std::ifstream pages("/proc/self/statm");
    std::uint64_t num_pages = 0;
    pages >> num_pages;
    none.rlim_cur += num_pages * 4096;
    none.rlim_max = now.rlim_max;
    setrlimit(RLIMIT_AS, &none);
    int code = 3;
    try {
      Loader loader(*set_, options_of(4000, 1), requests(1));
    } catch (const Error& error) {
      code = std::string(error.what()).find("worker threads can't be started") != std::string::npos ? 0 : 4;
    }
    ::_exit(code);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
}

TEST_F(LoaderTest, AnErrorOfTheSourceIsTheLast) {
  Loader loader(*set_, options_of(3, 2), [next = 0]() mutable -> std::optional<BatchRequest> {
    if (next == 4) {
      throw Error("no more requests to be had");
    }
    return BatchRequest{0, static_cast<std::uint32_t>(next++), 0, {0}};
  });
  for (int i = 0; i < 4; ++i) {
    ASSERT_TRUE(loader.next());
  }
  EXPECT_THROW(loader.next(), Error);
  EXPECT_FALSE(loader.next());
}

TEST_F(LoaderTest, EndsInTheMiddleOfAnEpoch) {
  for (int round = 0; round < 40; ++round) {
    Loader loader(*set_, options_of(1 + round % 4, 1 + round % 5), requests(100000));
    for (int i = 0; i < round % 7; ++i) {
      ASSERT_TRUE(loader.next());
    }
  }  // joins here, or the test runs into its timeout
}

TEST_F(LoaderTest, WaitingIsMeasured) {
  Loader loader(*set_, options_of(1, 1), [next = 0]() mutable -> std::optional<BatchRequest> {
    std::this_thread::sleep_for(50ms);
    return next++ < 4 ? std::optional(BatchRequest{0, 0, 0, {0}}) : std::nullopt;
  });
  while (loader.next()) {
  }
  EXPECT_GT(loader.counts().seconds_waited, 0.1);
  EXPECT_LT(loader.counts().seconds_waited, 10);
}

TEST_F(LoaderTest, NeedsAWorkerAndRoom) {
  EXPECT_THROW(Loader(*set_, options_of(0, 1), requests(1)), Error);
  EXPECT_THROW(Loader(*set_, options_of(1, 0), requests(1)), Error);
}

}  // namespace
}  // namespace maskedkd::testing
