// Compares the sum over ranks with a tree of sums that one process computes: halves of halves over the leaves.
#include "maskedkd/comm/tree_all_reduce.hpp"

#include "maskedkd/comm/mpi_session.hpp"
#include "noise.hpp"
#include "support/mpi_test.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/ops/add.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

namespace maskedkd {
namespace {

using testing::mpi_session;
using testing::noise;

at::Tensor halves_of_halves(const std::vector<at::Tensor>& leaves, std::size_t first, std::size_t count) {
  if (count == 1) {
    return leaves[first];
  }
  return at::add(halves_of_halves(leaves, first, count / 2),
                 halves_of_halves(leaves, first + count / 2, count - count / 2));
}

// To be compared with ==, as EXPECT_EQ would print megabytes.
std::string bits(const at::Tensor& tensor) {
  return {static_cast<const char*>(tensor.const_data_ptr()), tensor.nbytes()};
}

std::vector<at::Tensor> make_leaves(int count, std::int64_t length, std::uint64_t seed) {
  std::vector<at::Tensor> leaves;
  for (int leaf = 0; leaf < count; ++leaf) {
    leaves.push_back(noise(length, seed * 1000 + static_cast<std::uint64_t>(leaf)));
  }
  return leaves;
}

bool is_power_of_two(int size) { return (size & (size - 1)) == 0; }

// Counts what this rank sends.
class CountingCommunicator final : public Communicator {
 public:
  explicit CountingCommunicator(Communicator& inner) : inner_(inner) {}
  int rank() const noexcept override { return inner_.rank(); }
  int size() const noexcept override { return inner_.size(); }
  const Activity& activity() const noexcept override { return inner_.activity(); }
  void all_reduce_sum(at::Tensor& /*tensor*/) override { FAIL() << "its order of additions is not fixed"; }
  void broadcast(at::Tensor& /*tensor*/, int /*root*/) override { FAIL() << "not a pair's exchange"; }
  void exchange(const at::Tensor& send, at::Tensor& receive, int peer) override {
    sent_bytes += static_cast<double>(send.nbytes());
    received_bytes += static_cast<double>(receive.nbytes());
    inner_.exchange(send, receive, peer);
  }

  double sent_bytes = 0, received_bytes = 0;

 private:
  Communicator& inner_;
};

class TreeSum : public ::testing::Test {
 protected:
  const MpiSession& session_ = mpi_session();
  std::unique_ptr<Communicator> communicator_ = make_communicator(session_, at::kCPU);

  // The rank's contiguous part of the leaves, summed pairwise, then over the ranks.
  at::Tensor over_ranks(const std::vector<at::Tensor>& leaves) {
    const std::size_t mine = leaves.size() / static_cast<std::size_t>(session_.size());
    at::Tensor sum = halves_of_halves(leaves, mine * static_cast<std::size_t>(session_.rank()), mine).clone();
    tree_all_reduce_sum(*communicator_, sum);
    return sum;
  }
};

TEST_F(TreeSum, HasTheBitsOfOneProcessOnPowersOfTwo) {
  if (!is_power_of_two(session_.size())) {
    GTEST_SKIP() << "the promise is for powers of two";
  }
  bool order_matters = false;
  for (const int num_leaves : {8, 16}) {
    for (const std::int64_t length : {0, 1, 2, 3, 7, 31, 32, 33, 64, 127, 129, 1023, 65537}) {
      const auto leaves = make_leaves(num_leaves, length, static_cast<std::uint64_t>(num_leaves + length));
      const at::Tensor expected = halves_of_halves(leaves, 0, leaves.size());
      ASSERT_TRUE(bits(over_ranks(leaves)) == bits(expected)) << num_leaves << " leaves of " << length;
      at::Tensor in_a_row = leaves[0].clone();
      for (std::size_t leaf = 1; leaf < leaves.size(); ++leaf) {
        in_a_row += leaves[leaf];
      }
      order_matters = order_matters || bits(in_a_row) != bits(expected);
    }
  }
  EXPECT_TRUE(order_matters) << "numbers that any order sums alike test nothing";
}

TEST_F(TreeSum, HasTheBitsOfOneProcessOnAsManyNumbersAsDeitTiny) {
  if (!is_power_of_two(session_.size())) {
    GTEST_SKIP() << "the promise is for powers of two";
  }
  const auto leaves = make_leaves(std::max(4, session_.size()), 5'717'416, 3);
  ASSERT_TRUE(bits(over_ranks(leaves)) == bits(halves_of_halves(leaves, 0, leaves.size())));
}

// For any number of ranks, rank i + 2^k is added to rank i, then the tree over the first 2^k ranks follows.
TEST_F(TreeSum, AddsSurplusRanksFirst) {
  const int size = session_.size();
  std::size_t tree = 1;
  while (tree * 2 <= static_cast<std::size_t>(size)) {
    tree *= 2;
  }
  for (const std::int64_t length : {0, 1, 3, 5, 63, 65, 191, 4099, 100'003}) {
    const auto leaves = make_leaves(size, length, static_cast<std::uint64_t>(length));
    std::vector<at::Tensor> folded(leaves.begin(), leaves.begin() + static_cast<std::ptrdiff_t>(tree));
    for (std::size_t surplus = tree; surplus < leaves.size(); ++surplus) {
      folded[surplus - tree] = at::add(folded[surplus - tree], leaves[surplus]);
    }
    ASSERT_TRUE(bits(over_ranks(leaves)) == bits(halves_of_halves(folded, 0, tree))) << length;
  }
}

TEST_F(TreeSum, IsTheSameOnEveryRankAndEveryTimeAndCloseToTheDoubleSum) {
  const auto leaves = make_leaves(session_.size(), 10'007, 17);
  const at::Tensor sum = over_ranks(leaves);
  for (const std::string& other : session_.all_gather(bits(sum))) {
    ASSERT_TRUE(other == bits(sum));
  }
  for (int again = 0; again < 3; ++again) {
    ASSERT_TRUE(bits(over_ranks(leaves)) == bits(sum));
  }
  at::Tensor exact = at::zeros({10'007}, at::kDouble);
  at::Tensor magnitude = at::zeros({10'007}, at::kDouble);
  for (const at::Tensor& leaf : leaves) {
    exact += leaf.to(at::kDouble);
    magnitude += leaf.to(at::kDouble).abs();
  }
  // Error of a tree of sums: depth half-ulps of the sum of magnitudes (Higham, section 4.2); 4 bounds the depth here.
  const at::Tensor error = (sum.to(at::kDouble) - exact).abs() / magnitude;
  EXPECT_LE(error.max().item<double>(), 4 * 0x1p-24);
}

TEST_F(TreeSum, CarriesInfinityAndNanToEveryRank) {
  at::Tensor tensor = at::zeros({3});
  if (session_.rank() == session_.size() - 1) {
    tensor[0] = std::numeric_limits<float>::infinity();
    tensor[1] = std::numeric_limits<float>::quiet_NaN();
  }
  tree_all_reduce_sum(*communicator_, tensor);
  EXPECT_TRUE(std::isinf(tensor[0].item<float>()));
  EXPECT_TRUE(std::isnan(tensor[1].item<float>()));
  EXPECT_EQ(tensor[2].item<float>(), 0.0F);
}

// Recursive halving and doubling: (1 - 1/n) of the tensor each; a rank with a surplus rank passes the sum on to it.
TEST_F(TreeSum, SendsAboutTwiceTheTensorOnAnyNumberOfRanks) {
  CountingCommunicator counting(*communicator_);
  at::Tensor tensor = noise(1'000'003, 5);
  const auto bytes = static_cast<double>(tensor.nbytes());
  tree_all_reduce_sum(counting, tensor);
  const auto size = static_cast<unsigned>(session_.size());
  const unsigned tree = std::bit_floor(size), rank = static_cast<unsigned>(session_.rank());
  const double of_surplus = rank < size - tree || rank >= tree ? bytes : 0;
  const double of_pairs = rank < tree ? 2 * bytes * (1 - 1.0 / tree) : 0;
  constexpr double kOfRounding = 8 * 128;  // halves begin at multiples of 128 bytes
  EXPECT_NEAR(counting.sent_bytes, of_pairs + of_surplus, kOfRounding);
  EXPECT_NEAR(counting.received_bytes, of_pairs + of_surplus, kOfRounding);
}

// So a gradient may be summed slice by slice while the backward pass still computes the rest.
TEST_F(TreeSum, SlicesHaveTheBitsOfTheWhole) {
  const auto leaves = make_leaves(session_.size(), 10'007, 29);
  const at::Tensor whole = over_ranks(leaves);
  at::Tensor sliced = leaves[static_cast<std::size_t>(session_.rank())].clone();
  for (const auto& [first, last] : {std::pair{7000, 10'007}, {0, 1}, {1, 7000}}) {
    at::Tensor slice = sliced.narrow(0, first, last - first);
    tree_all_reduce_sum(*communicator_, slice);
  }
  EXPECT_TRUE(bits(sliced) == bits(whole));
}

// Also if some ranks take part in fewer exchanges: a watchdog compares the counts.
TEST_F(TreeSum, CountsAsManyCollectivesOnEveryRank) {
  const std::uint64_t before = session_.activity().read().collectives;
  at::Tensor tensor = at::zeros({3});
  tree_all_reduce_sum(*communicator_, tensor);
  const auto counted = static_cast<double>(session_.activity().read().collectives - before);
  for (const double other : session_.all_gather(std::array{counted})) {
    EXPECT_EQ(other, counted);
  }
}

TEST_F(TreeSum, AcceptsEmptyTensors) {
  at::Tensor tensor = at::zeros({0});
  tree_all_reduce_sum(*communicator_, tensor);
  EXPECT_EQ(tensor.numel(), 0);
}

}  // namespace
}  // namespace maskedkd
