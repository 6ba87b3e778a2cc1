// Copies of tensors on the CPU: their values, how many parts are copied, and that memory is kept.
#include "maskedkd/train/state_copy.hpp"

#include "maskedkd/base/error.hpp"
#include "maskedkd/train/model_state.hpp"
#include "small_model_state.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <set>

namespace maskedkd {
namespace {

using Groups = std::map<std::string, NamedTensors>;

at::Tensor counting(std::int64_t first, std::int64_t count) { return at::arange(first, first + count, at::kFloat); }

// Tensors that were copied together keep their distances.
std::size_t num_parts(const Groups& copies, const Groups& originals) {
  std::set<std::uintptr_t> distances;
  const auto address = [](const at::Tensor& tensor) {
    return reinterpret_cast<std::uintptr_t>(tensor.const_data_ptr());
  };
  for (const auto& [group, tensors] : originals) {
    for (std::size_t i = 0; i < tensors.size(); ++i) {
      distances.insert(address(copies.at(group)[i].second) - address(tensors[i].second));
    }
  }
  return distances.size();
}

void expect_equal(const Groups& copies, const Groups& expected) {
  ASSERT_EQ(copies.size(), expected.size());
  for (const auto& [group, tensors] : expected) {
    const NamedTensors& found = copies.at(group);
    ASSERT_EQ(found.size(), tensors.size());
    for (std::size_t i = 0; i < tensors.size(); ++i) {
      EXPECT_EQ(found[i].first, tensors[i].first);
      EXPECT_EQ(found[i].second.scalar_type(), tensors[i].second.scalar_type());
      EXPECT_TRUE(found[i].second.equal(tensors[i].second.detach())) << group << ' ' << tensors[i].first;
    }
  }
}

TEST(StateCopy, NeighboursInAnyOrderAreOnePart) {
  const at::Tensor flat = counting(0, 1000);
  const Groups groups = {{"a", {{"last", flat.narrow(0, 600, 400)}, {"first", flat.narrow(0, 0, 6).view({2, 3})}}},
                         {"b", {{"middle", flat.narrow(0, 6, 594)}}}};
  StateCopy copy;
  const Groups copies = copy.copy(groups);
  expect_equal(copies, groups);
  EXPECT_EQ(num_parts(copies, groups), 1U);
}

TEST(StateCopy, WhatLiesBetweenTwoTensorsIsNotCopied) {
  const at::Tensor flat = counting(0, 1 << 20);
  const Groups groups = {{"a", {{"begin", flat.narrow(0, 3, 5)}, {"end", flat.narrow(0, (1 << 20) - 7, 7)}}}};
  StateCopy copy;
  const Groups copies = copy.copy(groups);
  expect_equal(copies, groups);
  EXPECT_EQ(num_parts(copies, groups), 2U);
  EXPECT_LT(copies.at("a")[0].second.storage().nbytes(), 1000U);
}

TEST(StateCopy, TensorsMayHaveAnyTypeShapeAndPlace) {
  const at::Tensor halves = counting(0, 9).to(at::kHalf), scalar = at::full({}, 3.0), none = at::zeros({0, 4});
  const Groups groups = {{"a",
                          {{"halves", halves.narrow(0, 1, 5)},
                           {"doubles", counting(5, 3).to(at::kDouble)},
                           {"scalar", scalar},
                           {"none", none},
                           {"trained", counting(1, 4).set_requires_grad(true)}}}};
  StateCopy copy;
  const Groups copies = copy.copy(groups);
  expect_equal(copies, groups);
  EXPECT_FALSE(copies.at("a").back().second.requires_grad());
  EXPECT_TRUE(StateCopy().copy({}).empty());
}

TEST(StateCopy, LaterChangesDoNotReachTheCopyAndTheNextOneUsesItsMemory) {
  at::Tensor flat = counting(0, 5000);
  const Groups groups = {{"a", {{"all", flat}}}};
  StateCopy copy;
  const at::Tensor first = copy.copy(groups).at("a")[0].second;
  flat += 1;
  EXPECT_TRUE(first.equal(counting(0, 5000)));
  const at::Tensor second = copy.copy(groups).at("a")[0].second;
  EXPECT_TRUE(second.equal(counting(1, 5000)));
  EXPECT_EQ(second.const_data_ptr(), first.const_data_ptr());
  EXPECT_FALSE(copy.take_wait()) << "there is nothing to wait for on a CPU";
}

TEST(StateCopy, TensorsWithStridesAreRefused) {
  StateCopy copy;
  EXPECT_THROW(copy.copy({{"a", {{"columns", at::zeros({4, 3}).t()}}}}), Error);
}

// Parameters, two moments and their number of steps, the average: at most one part each, however many tensors.
TEST(StateCopy, AModelsStateIsFewParts) {
  ModelState model(testing::small_model_state(3), at::kCPU);
  model.student().initialise(1);
  const Groups groups = model.groups();
  StateCopy copy;
  const Groups copies = copy.copy(groups);
  expect_equal(copies, groups);
  EXPECT_LE(num_parts(copies, groups), 5U);
}

}  // namespace
}  // namespace maskedkd
