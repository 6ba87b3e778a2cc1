#include "maskedkd/data/loader.hpp"
#include "loader_fixture.hpp"
#include "maskedkd/base/error.hpp"
#include "maskedkd/base/philox.hpp"
#include "maskedkd/data/batch.hpp"

#include <ATen/TensorOperators.h>
#include <dlfcn.h>
#include <pthread.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <thread>

namespace {

std::atomic<int> threads_left = -1;  // number of threads that may still be started; below 0: unlimited

}  // namespace

// Fails as if a limit of processes were reached.
extern "C" int pthread_create(pthread_t* thread, const pthread_attr_t* attributes, void* (*run)(void*),
                              void* argument) {
  static const auto real = reinterpret_cast<decltype(&pthread_create)>(dlsym(RTLD_NEXT, "pthread_create"));
  if (threads_left >= 0 && threads_left-- == 0) {
    return EAGAIN;
  }
  return real(thread, attributes, run, argument);
}

namespace maskedkd::testing {
namespace {

using namespace std::chrono_literals;

TEST_F(LoaderTest, OrderAndContentAreTheSameForAnyNumberOfWorkers) {
  const auto expected = all_of(options_of(1, 1), 80);
  ASSERT_EQ(expected.size(), 80u);
  for (const int num_workers : {1, 2, 4, 7}) {
    for (const int prefetch : {1, 2, 5, 100}) {
      EXPECT_TRUE(all_of(options_of(num_workers, prefetch), 80) == expected) << num_workers << " workers, " << prefetch;
    }
  }
}

// Repeated augmentation: nine requests for the same eight records in other orders. The content equals that of separate
// requests, however many batches are open; opened together, a record is decoded once for all of them.
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

TEST_F(LoaderTest, ReferencedBatchesAreNotOverwritten) {
  Loader loader(*set_, options_of(3, 2), requests(60));
  std::vector<std::pair<at::Tensor, std::vector<std::uint8_t>>> kept;
  int num = 0;
  while (const auto batch = loader.next()) {
    if (++num % 2 == 0) {  // a view is a reference too
      kept.emplace_back(batch->staged.views.pixels[0], values_of<std::uint8_t>(batch->staged.views.pixels[0]));
    }
  }
  ASSERT_EQ(kept.size(), 30u);
  for (const auto& [view, values] : kept) {
    EXPECT_EQ(values_of<std::uint8_t>(view), values);
  }
}

TEST_F(LoaderTest, ABatchDependsOnItsAddressNotOnTheOrderOfRequests) {
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
  // The same record twice in a batch gets two different crops.
  constexpr int kImage = kSize * kSize * 3;
  EXPECT_FALSE(std::equal(first.begin() + 3 + kImage, first.begin() + 3 + 2 * kImage, first.begin() + 3 + 2 * kImage));
}

TEST_F(LoaderTest, EvaluationGivesTheUnchangedImages) {
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
    const StagedViews& views = batch->staged.views;
    EXPECT_FALSE(views.erasures.defined() || views.image_shares.defined());
    const auto pixels = values_of<std::uint8_t>(views.pixels);
    for (std::size_t i = 0; i < 3; ++i) {
      EXPECT_TRUE(std::equal(records[first + i].bytes.begin(), records[first + i].bytes.end(),
                             pixels.begin() + static_cast<std::ptrdiff_t>(i * kSize * kSize * 3)));
      EXPECT_EQ(views.labels.const_data_ptr<std::int64_t>()[i], records[first + i].label);
    }
  }
  EXPECT_FALSE(loader.next());
}

TEST_F(LoaderTest, ErasingNoiseIsStandardNormal) {
  Loader loader(*set_, options_of(2, 4), requests(100));
  double count = 0, sum = 0, squares = 0;
  while (const auto batch = loader.next()) {
    const at::Tensor images = prepared_images(batch->staged.views, /*mixed=*/false);
    const at::Tensor& erasures = batch->staged.views.erasures;
    for (std::int64_t image = 0; image < images.size(0); ++image) {
      const auto box = values_of<std::int32_t>(erasures[image][0]);
      const at::Tensor noise = images[image].narrow(1, box[0], box[2]).narrow(2, box[1], box[3]).to(at::kDouble);
      count += static_cast<double>(noise.numel());
      sum += noise.sum().item<double>();
      squares += noise.square().sum().item<double>();
    }
  }
  ASSERT_GT(count, 20000);
  EXPECT_NEAR(sum / count, 0, 4.5 / std::sqrt(count));
  EXPECT_NEAR(squares / count, 1, 4.5 * std::sqrt(2 / count));
}

TEST_F(LoaderTest, NeverMoreThanPrefetchBatchesAreRequestedAhead) {
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

TEST_F(LoaderTest, WorkersThatCanNotBeStartedAreAnError) {
  threads_left = 3;
  try {
    Loader loader(*set_, options_of(5, 1), requests(1));
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("5 worker threads can't be started"), std::string::npos) << error.what();
  }
  threads_left = -1;
}

TEST_F(LoaderTest, AnErrorOfTheSourceComesAfterAllBatchesBeforeIt) {
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

TEST_F(LoaderTest, CanBeDestroyedInTheMiddleOfAnEpoch) {
  for (int round = 0; round < 40; ++round) {
    Loader loader(*set_, options_of(1 + round % 4, 1 + round % 5), requests(100000));
    for (int i = 0; i < round % 7; ++i) {
      ASSERT_TRUE(loader.next());
    }
  }  // the destructor joins the threads
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

TEST_F(LoaderTest, RefusesNoWorkersAndNoPrefetch) {
  EXPECT_THROW(Loader(*set_, options_of(0, 1), requests(1)), Error);
  EXPECT_THROW(Loader(*set_, options_of(1, 0), requests(1)), Error);
}

}  // namespace
}  // namespace maskedkd::testing
