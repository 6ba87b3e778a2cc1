// The layout of a staged batch, and that its content is what the functions that draw each part give.
#include "maskedkd/data/staged_batch.hpp"
#include "loader_fixture.hpp"
#include "maskedkd/augment/augment.hpp"
#include "maskedkd/base/error.hpp"
#include "support/plain_preparation.hpp"

#include <ATen/ops/argsort.h>
#include <ATen/ops/empty.h>

#include <array>
#include <cmath>
#include <cstring>

namespace maskedkd::testing {
namespace {

using Parts = std::vector<std::pair<std::int64_t, at::Tensor>>;  // offset and view

Parts parts_of(const StagedLayout& layout, const StagedViews& views) {
  return {{layout.pixels, views.pixels},
          {layout.labels, views.labels},
          {layout.image_shares, views.image_shares},
          {layout.target_shares, views.target_shares},
          {layout.cut_boxes, views.cut_boxes},
          {layout.erasures, views.erasures},
          {layout.drop_path_factors, views.drop_path_factors},
          {layout.random_scores, views.random_scores},
          {layout.seen_patches, views.seen_patches}};
}

TEST(StagedLayout, PartsLieApartAlignedAndInOrder) {
  for (const std::int64_t images : {1, 2, 7, 128}) {
    const StagedLayout layout({images, 23, true, 3, 5, 49, 17});
    const at::Tensor bytes = at::empty({layout.num_bytes}, at::kByte);
    std::int64_t end = 0;
    for (const auto& [offset, view] : parts_of(layout, layout.views(bytes))) {
      ASSERT_TRUE(view.defined() && view.is_contiguous());
      EXPECT_EQ(offset % 256, 0);
      EXPECT_GE(offset, end);
      EXPECT_EQ(static_cast<const std::uint8_t*>(view.const_data_ptr()), bytes.const_data_ptr<std::uint8_t>() + offset);
      end = offset + view.numel() * static_cast<std::int64_t>(view.element_size());
    }
    EXPECT_LE(end, layout.num_bytes);
    EXPECT_LT(layout.num_bytes - end, 256);
  }
}

TEST(StagedLayout, ViewsHaveTheirShapesAndTypes) {
  const StagedLayout layout({6, 23, true, 3, 5, 49, 17});
  const StagedViews views = layout.views(at::empty({layout.num_bytes + 100}, at::kByte));
  const std::vector<std::pair<at::ScalarType, std::vector<std::int64_t>>> expected = {
      {at::kByte, {6, 23, 23, 3}}, {at::kLong, {6}},      {at::kFloat, {6}},
      {at::kFloat, {6}},           {at::kInt, {6, 4}},    {at::kInt, {6, 3, kPlannedErasureWords}},
      {at::kFloat, {5, 2, 6}},     {at::kFloat, {6, 49}}, {at::kLong, {6, 17}}};
  const Parts parts = parts_of(layout, views);
  for (std::size_t i = 0; i < parts.size(); ++i) {
    EXPECT_EQ(parts[i].second.scalar_type(), expected[i].first) << i;
    EXPECT_EQ(parts[i].second.sizes(), expected[i].second) << i;
  }
  EXPECT_THROW(layout.views(at::empty({layout.num_bytes - 1}, at::kByte)), Error);
}

TEST(StagedLayout, WhatIsNotStagedTakesNoMemory) {
  const StagedLayout evaluation({.num_images = 10, .size = 8});
  EXPECT_EQ(evaluation.num_bytes, 2048 + 256);  // 1920 bytes of pixels, 80 of labels
  const Parts parts = parts_of(evaluation, evaluation.views(at::empty({evaluation.num_bytes}, at::kByte)));
  for (std::size_t i = 0; i < parts.size(); ++i) {
    EXPECT_EQ(parts[i].second.defined(), i < 2) << i;
  }
  const StagedLayout raw({.num_images = 10, .size = 0, .is_mixed = true});
  EXPECT_FALSE(raw.views(at::empty({raw.num_bytes}, at::kByte)).pixels.defined());
  EXPECT_EQ(raw.num_bytes, 4 * 256);
}

class StagedBatchTest : public LoaderTest {
 protected:
  // With scores in odd epochs.
  static LoaderOptions training(int num_workers, int prefetch) {
    LoaderOptions options = options_of(num_workers, prefetch);
    options.augment.erasing_count = 3;
    options.decisions.mixing.mode = MixMode::elem;
    options.decisions.drop_path_rates = {0, 0.2, 0.4};
    options.decisions.num_scores = [](std::uint32_t epoch) { return epoch % 2 == 1 ? 16 : 0; };
    return options;
  }

  std::vector<MicroBatch> load(const LoaderOptions& options) const {
    Loader loader(*set_, options, requests(60));
    std::vector<MicroBatch> all;
    while (auto batch = loader.next()) {
      all.push_back(std::move(*batch));
    }
    EXPECT_EQ(all.size(), 60u);
    return all;
  }
};

TEST_F(StagedBatchTest, BytesAreTheSameForAnyNumberOfWorkers) {
  for (const bool drops : {false, true}) {
    const auto options = [&](int num_workers, int prefetch) {
      LoaderOptions result = training(num_workers, prefetch);
      if (drops) {
        result.decisions.patch_drop = 0.7;
        result.decisions.num_patches = 9;
      }
      return result;
    };
    const std::vector<MicroBatch> expected = load(options(1, 1));
    for (const auto& [num_workers, prefetch] : {std::pair(2, 3), {5, 9}}) {
      const std::vector<MicroBatch> found = load(options(num_workers, prefetch));
      for (std::size_t i = 0; i < found.size(); ++i) {
        const StagedBatch &batch = found[i].staged, &wanted = expected[i].staged;
        ASSERT_EQ(batch.layout.contents, wanted.layout.contents);
        ASSERT_EQ(batch.bytes.numel(), batch.layout.num_bytes);
        EXPECT_TRUE(batch.bytes.equal(wanted.bytes)) << "with what lies between the parts";
        const Parts parts = parts_of(batch.layout, batch.views), others = parts_of(wanted.layout, wanted.views);
        for (std::size_t part = 0; part < parts.size(); ++part) {
          const at::Tensor &a = parts[part].second, &b = others[part].second;
          ASSERT_EQ(a.defined(), b.defined());
          ASSERT_TRUE(!a.defined() ||
                      std::memcmp(a.const_data_ptr(), b.const_data_ptr(), static_cast<std::size_t>(a.nbytes())) == 0)
              << i << ", " << part;
        }
      }
    }
  }
}

TEST_F(StagedBatchTest, MixturesAreThoseOfThePlan) {
  const LoaderOptions options = training(2, 4);
  int num_cut = 0, num_mixed = 0;
  for (const MicroBatch& batch : load(options)) {
    PhiloxStream random(batch.request.address(RandomPurpose::mixing, options.seed));
    const auto count = static_cast<int>(batch.request.indices.size());
    const MixPlan plan = draw_mix_plan(random, count, kSize, kSize, options.decisions.mixing);
    const StagedViews& views = batch.staged.views;
    EXPECT_TRUE(views.image_shares.equal(plain_shares(plan, /*of_labels=*/false, views.labels)));
    EXPECT_TRUE(views.target_shares.equal(plain_shares(plan, /*of_labels=*/true, views.labels)));
    for (std::int64_t i = 0; i < count; ++i) {
      const MixPlan::Sample& sample = plan.samples[static_cast<std::size_t>(i)];
      const PixelBox& box = sample.box;
      EXPECT_EQ(values_of<std::int32_t>(views.cut_boxes[i]), (std::vector{box.top, box.left, box.height, box.width}));
      ++(sample.cut ? num_cut : num_mixed);
    }
  }
  EXPECT_GT(num_cut, 50);
  EXPECT_GT(num_mixed, 50);
}

TEST_F(StagedBatchTest, DropPathFactorsAreThoseOfTheStream) {
  const LoaderOptions options = training(2, 4);
  for (const MicroBatch& batch : load(options)) {
    const auto count = static_cast<std::int64_t>(batch.request.indices.size());
    const at::Tensor uniforms = at::empty({3, 2, count}, at::kFloat);
    PhiloxStream random(batch.request.address(RandomPurpose::drop_path, options.seed));
    for (std::int64_t i = 0; i < uniforms.numel(); ++i) {
      uniforms.mutable_data_ptr<float>()[i] = std::ldexp(static_cast<float>(random.next_word() >> 8), -24);
    }
    const at::Tensor& factors = batch.staged.views.drop_path_factors;
    EXPECT_TRUE(factors.narrow(0, 1, 2).equal(plain_drop_path(uniforms, {0, 0.2, 0.4}).narrow(0, 1, 2)));
    EXPECT_TRUE((factors[0] == 1).all().item<bool>());
  }
}

TEST_F(StagedBatchTest, ErasuresAreThoseOfTheTrainingPlan) {
  const LoaderOptions options = training(2, 4);
  std::array<int, 4> counts{};
  for (const MicroBatch& batch : load(options)) {
    for (std::uint32_t i = 0; i < batch.request.indices.size(); ++i) {
      const RecordShape shape = packed_.records[static_cast<std::size_t>(batch.request.indices[i])].shape;
      PhiloxStream random(batch.request.address(RandomPurpose::augmentation, options.seed, i));
      const std::vector<PixelBox> boxes = draw_training_plan(random, shape.height, shape.width, options.augment).erase;
      ++counts.at(boxes.size());
      const RandomAddress address = batch.request.address(RandomPurpose::erasing_noise, options.seed, i);
      const at::Tensor table = batch.staged.views.erasures[i];
      ASSERT_EQ(table.size(0), 3);
      for (std::uint32_t k = 0; k < 3; ++k) {
        const PlannedErasure expected =
            k < boxes.size() ? plan_erasure(boxes[k], ErasingMode::pixel, address, k) : PlannedErasure{};
        EXPECT_EQ(std::memcmp(table[k].const_data_ptr(), &expected, sizeof expected), 0);
      }
    }
  }
  EXPECT_GT(*std::min_element(counts.begin(), counts.end()), 10);
}

TEST_F(StagedBatchTest, ScoresAreStagedInTheEpochsThatNeedThem) {
  for (const MicroBatch& batch : load(training(2, 4))) {
    const at::Tensor& scores = batch.staged.views.random_scores;
    ASSERT_EQ(scores.defined(), batch.request.epoch % 2 == 1);
    if (scores.defined()) {
      EXPECT_EQ(scores.size(1), 16);
      EXPECT_TRUE(std::get<0>(scores.sort(1))[0].equal(std::get<0>(scores.sort(1))[1]));
      EXPECT_FALSE(scores[0].equal(scores[1]));
    }
  }
}

TEST_F(StagedBatchTest, SeenPatchesDifferInNumberAndAreDistinct) {
  LoaderOptions options = training(2, 4);
  options.decisions.patch_drop = 0.7;
  options.decisions.num_patches = 9;
  std::set<std::int64_t> numbers;
  for (const MicroBatch& batch : load(options)) {
    PhiloxStream random(batch.request.address(RandomPurpose::patch_selection, options.seed));
    const at::Tensor& seen = batch.staged.views.seen_patches;
    EXPECT_EQ(seen.size(1), static_cast<std::int64_t>(std::ceil(9 * (1 - 0.7 * random.uniform()))));
    numbers.insert(seen.size(1));
    for (std::int64_t image = 0; image < seen.size(0); ++image) {
      const auto row = values_of<std::int64_t>(seen[image]);
      EXPECT_EQ(std::set(row.begin(), row.end()).size(), row.size());
      EXPECT_TRUE(*std::min_element(row.begin(), row.end()) >= 0 && *std::max_element(row.begin(), row.end()) < 9);
    }
  }
  EXPECT_GE(numbers.size(), 5u);
}

}  // namespace
}  // namespace maskedkd::testing
