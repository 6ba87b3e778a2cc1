#include "maskedkd/comm/communicator.hpp"

#include "maskedkd/base/error.hpp"
#include "maskedkd/comm/mpi_session.hpp"
#include "noise.hpp"
#include "support/mpi_test.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <utility>

namespace maskedkd {
namespace {

using testing::mpi_session;
using testing::noise;

class OverMpi : public ::testing::Test {
 protected:
  const int rank_ = mpi_session().rank();
  const int size_ = mpi_session().size();
  std::unique_ptr<Communicator> communicator_ = make_communicator(mpi_session(), at::kCPU);
};

TEST_F(OverMpi, HasTheRankAndSizeOfTheSession) {
  EXPECT_EQ(communicator_->rank(), rank_);
  EXPECT_EQ(communicator_->size(), size_);
}

TEST_F(OverMpi, AllReduceIsTheSumOfAllRanks) {
  for (const std::int64_t length : {0, 1, 3, 1001, 262'147}) {
    at::Tensor tensor = noise(length, static_cast<std::uint64_t>(rank_));
    at::Tensor exact = at::zeros({length}, at::kDouble);
    at::Tensor magnitude = at::zeros({length}, at::kDouble);
    for (int rank = 0; rank < size_; ++rank) {
      const at::Tensor part = noise(length, static_cast<std::uint64_t>(rank)).to(at::kDouble);
      exact += part;
      magnitude += part.abs();
    }
    communicator_->all_reduce_sum(tensor);
    // n - 1 additions, each within half an ulp of its partial sum.
    const at::Tensor excess = (tensor.to(at::kDouble) - exact).abs() - magnitude * (size_ - 1) * 0x1p-24 * 1.01;
    EXPECT_TRUE((excess <= 0).all().item<bool>()) << length;
  }
}

TEST_F(OverMpi, ExchangeSwapsTensorsWithThePeerOnly) {
  const int peer = rank_ ^ 1;
  for (const std::int64_t length : {1, 17, 1'000'003}) {
    const at::Tensor mine = noise(length, static_cast<std::uint64_t>(rank_));
    at::Tensor received = at::zeros({length});
    if (peer < size_) {
      communicator_->exchange(mine, received, peer);
      EXPECT_TRUE(received.equal(noise(length, static_cast<std::uint64_t>(peer))));
    } else {
      EXPECT_TRUE(received.equal(at::zeros({length})));  // the rank without a peer does not take part
    }
    EXPECT_TRUE(mine.equal(noise(length, static_cast<std::uint64_t>(rank_))));
  }
}

TEST_F(OverMpi, ExchangeTakesDifferentSizesAndNothing) {
  const int peer = rank_ ^ 1;
  if (peer >= size_) {
    return;
  }
  for (const auto& [of_even, of_odd] : {std::pair{5, 1000}, {100'003, 3}, {0, 7}, {9, 0}, {0, 0}}) {
    const at::Tensor mine = noise(rank_ % 2 == 0 ? of_even : of_odd, static_cast<std::uint64_t>(rank_));
    at::Tensor received = at::zeros({rank_ % 2 == 0 ? of_odd : of_even});
    communicator_->exchange(mine, received, peer);
    EXPECT_TRUE(received.equal(noise(received.numel(), static_cast<std::uint64_t>(peer)))) << of_even << ' ' << of_odd;
  }
}

TEST_F(OverMpi, BroadcastGivesTheTensorOfAnyRoot) {
  for (int root = 0; root < size_; ++root) {
    at::Tensor tensor = noise(4099, static_cast<std::uint64_t>(rank_ + 50));
    communicator_->broadcast(tensor, root);
    EXPECT_TRUE(tensor.equal(noise(4099, static_cast<std::uint64_t>(root + 50)))) << root;
  }
}

TEST_F(OverMpi, UnsupportedTensorsAreRefused) {
  at::Tensor doubles = at::zeros({4}, at::kDouble);
  at::Tensor columns = at::zeros({4, 4}).t();
  at::Tensor nothing;
  for (at::Tensor* tensor : {&doubles, &columns, &nothing}) {
    EXPECT_THROW(communicator_->all_reduce_sum(*tensor), Error);
    EXPECT_THROW(communicator_->broadcast(*tensor, 0), Error);
  }
  const at::Tensor four = at::zeros({4});
  at::Tensor also_four = at::zeros({4});
  EXPECT_THROW(communicator_->exchange(four, doubles, 0), Error);
  EXPECT_THROW(communicator_->exchange(four, also_four, size_), Error);
  EXPECT_THROW(communicator_->exchange(four, also_four, -1), Error);
  EXPECT_THROW(communicator_->broadcast(also_four, size_), Error);
}

TEST_F(OverMpi, CommunicatorsDoNotReceiveEachOthersMessages) {
  const auto second = make_communicator(mpi_session(), at::kCPU);
  at::Tensor ones = at::full({3}, 1.0), twos = at::full({3}, 2.0);
  second->all_reduce_sum(twos);
  mpi_session().barrier();
  communicator_->all_reduce_sum(ones);
  EXPECT_TRUE(ones.equal(at::full({3}, static_cast<double>(size_))));
  EXPECT_TRUE(twos.equal(at::full({3}, 2.0 * size_)));
}

}  // namespace
}  // namespace maskedkd
