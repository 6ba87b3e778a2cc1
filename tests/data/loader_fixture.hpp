// A packed set of 50 small records in shards of 13, loaders of it, and their batches in a form to compare.
#pragma once

#include "codecs/reference.hpp"
#include "maskedkd/data/loader.hpp"
#include "shards/packed_set.hpp"
#include "support/temporary_directory.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <optional>
#include <vector>

namespace maskedkd::testing {

inline constexpr int kSize = 24;  // of a loaded image

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

  // `count` requests of 3 to 6 records, no two with the same address.
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

  // The whole content of a batch as numbers that can be compared.
  static std::vector<float> content_of(const MicroBatch& batch) {
    std::vector<float> all = {static_cast<float>(batch.request.epoch), static_cast<float>(batch.request.step),
                              static_cast<float>(batch.request.micro_batch)};
    const StagedViews& views = batch.staged.views;
    for (const std::uint8_t value : values_of<std::uint8_t>(views.pixels)) {
      all.push_back(value);
    }
    for (const std::int64_t label : values_of<std::int64_t>(views.labels)) {
      all.push_back(static_cast<float>(label));
    }
    for (const at::Tensor& part : {views.image_shares, views.target_shares, views.cut_boxes, views.erasures}) {
      if (part.defined()) {
        const std::vector<float> values = values_of<float>(part.to(at::kFloat));
        all.insert(all.end(), values.begin(), values.end());
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

}  // namespace maskedkd::testing
