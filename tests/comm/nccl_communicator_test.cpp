// NCCL on as many GPUs as there are ranks. With one GPU sums over ranks are sums of one rank, but the communicator, its
// stream order and its refusals are tested.
#include "maskedkd/base/error.hpp"
#include "maskedkd/comm/communicator.hpp"
#include "maskedkd/comm/mpi_session.hpp"
#include "maskedkd/comm/topology.hpp"
#include "maskedkd/comm/tree_all_reduce.hpp"
#include "noise.hpp"
#include "support/mpi_test.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <c10/cuda/CUDAFunctions.h>
#include <gtest/gtest.h>

#include <optional>
#include <utility>

namespace maskedkd {
namespace {

using testing::mpi_session;
using testing::noise;

class OverNccl : public ::testing::Test {
 protected:
  void SetUp() override {
    if (c10::cuda::device_count() < mpi_session().local_size()) {
      GTEST_SKIP() << mpi_session().local_size() << " ranks want a GPU each, found "
                   << static_cast<int>(c10::cuda::device_count());
    }
    device_ = choose_device(mpi_session(), DeviceChoice::cuda);
    communicator_ = make_communicator(mpi_session(), *device_);
  }
  at::Tensor on_device(const at::Tensor& tensor) const { return tensor.to(*device_); }
  at::Tensor noise_of(int rank, std::int64_t length) const {
    return noise(length, static_cast<std::uint64_t>(rank) + 5);
  }

  const int rank_ = mpi_session().rank();
  const int size_ = mpi_session().size();
  std::optional<at::Device> device_;
  std::unique_ptr<Communicator> communicator_;
};

TEST_F(OverNccl, AllReduceIsTheSumOfAllRanks) {
  for (const std::int64_t length : {1, 1001, 5'717'416}) {
    at::Tensor tensor = on_device(noise_of(rank_, length));
    communicator_->all_reduce_sum(tensor);
    at::Tensor exact = at::zeros({length}, at::kDouble), magnitude = at::zeros({length}, at::kDouble);
    for (int rank = 0; rank < size_; ++rank) {
      exact += noise_of(rank, length).to(at::kDouble);
      magnitude += noise_of(rank, length).to(at::kDouble).abs();
    }
    const at::Tensor error = (tensor.cpu().to(at::kDouble) - exact).abs();
    EXPECT_TRUE((error <= magnitude * size_ * 0x1p-24).all().item<bool>()) << length;
  }
}

TEST_F(OverNccl, BroadcastGivesTheRootsTensor) {
  for (int root = 0; root < size_; ++root) {
    at::Tensor tensor = on_device(noise_of(rank_, 4099));
    communicator_->broadcast(tensor, root);
    EXPECT_TRUE(tensor.cpu().equal(noise_of(root, 4099))) << root;
  }
}

// With one rank the peer is the rank itself; the message still passes through NCCL.
TEST_F(OverNccl, ExchangeSwapsWithThePeer) {
  const int peer = size_ == 1 ? 0 : rank_ ^ 1;
  const at::Tensor mine = on_device(noise_of(rank_, 1'000'003));
  at::Tensor received = on_device(at::zeros({1'000'003}));
  communicator_->exchange(mine, received, peer);
  EXPECT_TRUE(received.cpu().equal(noise_of(peer, 1'000'003)));
}

TEST_F(OverNccl, ExchangeTakesDifferentSizesAndNothing) {
  if (size_ % 2 != 0) {
    GTEST_SKIP() << "every rank needs a peer";
  }
  for (const auto& [of_even, of_odd] : {std::pair{5, 1000}, {0, 7}, {9, 0}, {0, 0}}) {
    const at::Tensor mine = on_device(noise_of(rank_, rank_ % 2 == 0 ? of_even : of_odd));
    at::Tensor received = on_device(at::zeros({rank_ % 2 == 0 ? of_odd : of_even}));
    communicator_->exchange(mine, received, rank_ ^ 1);
    EXPECT_TRUE(received.cpu().equal(noise_of(rank_ ^ 1, received.numel()))) << of_even << ' ' << of_odd;
  }
}

// Calls see work that was queued before them, and work queued after them sees their result, without waiting on the
// host.
TEST_F(OverNccl, IsOrderedOnTheDevicesStream) {
  at::Tensor tensor = on_device(at::zeros({1 << 22}));
  for (int step = 0; step < 50; ++step) {
    tensor += 1.0;
    communicator_->all_reduce_sum(tensor);
    tensor /= size_;
  }
  EXPECT_TRUE(tensor.cpu().equal(at::full({1 << 22}, 50.0)));
}

TEST_F(OverNccl, TreeSumHasTheBitsOfTheCpus) {
  const auto over_mpi = make_communicator(mpi_session(), at::kCPU);
  at::Tensor on_cpu = noise_of(rank_, 100'003);
  at::Tensor on_gpu = on_device(on_cpu);
  tree_all_reduce_sum(*over_mpi, on_cpu);
  tree_all_reduce_sum(*communicator_, on_gpu);
  EXPECT_TRUE(on_gpu.cpu().equal(on_cpu));
}

TEST_F(OverNccl, UnsupportedTensorsAreRefused) {
  at::Tensor on_cpu = at::zeros({4});
  at::Tensor halves = on_device(at::zeros({4}, at::kHalf));
  at::Tensor columns = on_device(at::zeros({4, 4})).t();
  for (at::Tensor* tensor : {&on_cpu, &halves, &columns}) {
    EXPECT_THROW(communicator_->all_reduce_sum(*tensor), Error);
    EXPECT_THROW(communicator_->broadcast(*tensor, 0), Error);
  }
  const at::Tensor four = on_device(at::zeros({4}));
  EXPECT_THROW(communicator_->exchange(four, on_cpu, 0), Error);
}

}  // namespace
}  // namespace maskedkd
