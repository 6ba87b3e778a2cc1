// Compares the kernel that prepares a batch, compiled for the CPU, with ATen's operators. The bits must be equal.
#include "maskedkd/kernels/prepare_batch.hpp"
#include "maskedkd/base/error.hpp"
#include "random_preparation.hpp"

#include <ATen/Parallel.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/equal.h>
#include <gtest/gtest.h>

namespace maskedkd::testing {
namespace {

TEST(PrepareBatch, GivesTheBitsOfAtensOperators) {
  const BatchPreparer preparer(at::kCPU);
  std::mt19937_64 random(12);
  int done = 0;
  for_each_preparation(random, {{2, 1, 1, 1}, {6, 5, 3, 2}, {16, 24, 10, 1}, {4, 33, 1000, 4}, {30, 9, 7, 0}},
                       [&](const PreparationCase& given) {
                         const at::Tensor images = at::empty_like(given.images),
                                          targets = at::empty_like(given.targets);
                         preparer.prepare(given.inputs, given.smoothing, images, targets);
                         EXPECT_TRUE(images.equal(given.images)) << done;
                         EXPECT_TRUE(targets.equal(given.targets)) << done;
                         ++done;
                       });
  EXPECT_EQ(done, 180);
}

TEST(PrepareBatch, AnyNumberOfThreadsGivesTheSameBits) {
  const BatchPreparer preparer(at::kCPU);
  std::mt19937_64 random(13);
  const PreparationCase given = random_preparation(random, {24, 64, 5, 2}, ErasingMode::pixel, {});
  const at::Tensor images = at::empty_like(given.images), targets = at::empty_like(given.targets);
  for (const int threads : {3, 1}) {
    at::set_num_threads(threads);
    preparer.prepare(given.inputs, given.smoothing, images.zero_(), targets.zero_());
    EXPECT_TRUE(images.equal(given.images) && targets.equal(given.targets)) << threads;
  }
}

TEST(PrepareBatch, WithoutSharesNothingIsMixedAndWithoutTargetsNoLabelIsRead) {
  const BatchPreparer preparer(at::kCPU);
  std::mt19937_64 random(14);
  MixOptions none;
  none.probability = 0;
  const PreparationCase given = random_preparation(random, {5, 20, 3, 2}, ErasingMode::pixel, none);
  const at::Tensor images = at::empty_like(given.images);
  preparer.prepare({.pixels = given.inputs.pixels, .erasures = given.inputs.erasures}, 0, images, {});
  EXPECT_TRUE(images.equal(given.images));
  EXPECT_TRUE(preparer.normalised(given.inputs.pixels).equal(plain_normalised(given.inputs.pixels)));
}

TEST(PrepareBatch, RefusesTensorsThatDoNotFit) {
  const BatchPreparer preparer(at::kCPU);
  std::mt19937_64 random(15);
  const PreparationCase good = random_preparation(random, {4, 8, 3, 1}, ErasingMode::rand, {});
  const auto prepare = [&](const PreparationCase& given) {
    preparer.prepare(given.inputs, given.smoothing, given.images, given.targets);
  };
  EXPECT_NO_THROW(prepare(good));
  const auto expect_refused = [&](at::Tensor BatchInputs::*input, const std::string& name) {
    for (const auto& spoil :
         {+[](const at::Tensor& t) { return t.narrow(0, 0, 3); },
          +[](const at::Tensor& t) { return t.to(at::kDouble); },
          +[](const at::Tensor& t) { return t.flip(0).repeat_interleave(2, 0).slice(0, 0, 8, 2); }}) {
      PreparationCase bad = good;
      bad.inputs.*input = spoil(good.inputs.*input);
      try {
        prepare(bad);
        ADD_FAILURE() << name;
      } catch (const Error& error) {
        EXPECT_EQ(std::string(error.what()).find(name), 0U) << error.what();
      }
    }
  };
  expect_refused(&BatchInputs::pixels, "pixels");
  expect_refused(&BatchInputs::erasures, "erasures");
  expect_refused(&BatchInputs::image_shares, "image_shares");
  expect_refused(&BatchInputs::cut_boxes, "cut_boxes");
  expect_refused(&BatchInputs::labels, "labels");
  expect_refused(&BatchInputs::target_shares, "target_shares");
}

}  // namespace
}  // namespace maskedkd::testing
