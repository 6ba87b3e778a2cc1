#include "maskedkd/train/gradient_sum.hpp"

#include "maskedkd/comm/tree_all_reduce.hpp"

#include <ATen/TensorOperators.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>

namespace maskedkd {

GradientSum::GradientSum(Communicator& communicator, at::Device device, bool deterministic)
    : communicator_(communicator), device_(device), deterministic_(deterministic) {
  if (!device.is_cpu()) {
    beside_ = c10::impl::VirtualGuardImpl(device.type()).getStreamFromGlobalPool(device);
    ready_.emplace(device.type());
    done_.emplace(device.type());
  }
}

// Divides into halves: with a power of two of ranks, each rank's run is a subtree of the tree over all micro-batches.
at::Tensor GradientSum::of(int first, int last, const NextGradient& next) {
  std::vector<at::Tensor> earlier;  // the left subtrees on the way from the root to the last micro-batch
  while (last - first > 1) {
    const int middle = first + (last - first) / 2;
    earlier.push_back(subtree(first, middle, next));
    if (middle - first == 1) {
      earlier.back() = earlier.back().clone();
    }
    first = middle;
  }
  if (communicator_.size() == 1) {
    at::Tensor sum = next({});
    for (auto left = earlier.rbegin(); left != earlier.rend(); ++left) {
      sum = left->add_(sum);
    }
    return sum;
  }
  const at::Tensor gradient =
      next([&](std::int64_t begin, const at::Tensor& part) { add_over_ranks(part, earlier, begin); });
  if (beside_) {
    done_->record(*beside_);
    done_->block(c10::impl::VirtualGuardImpl(device_.type()).getStream(device_));
  }
  return earlier.empty() ? gradient : earlier.front();
}

// The sum, which the next micro-batch overwrites where it is of one alone.
at::Tensor GradientSum::subtree(int first, int last, const NextGradient& next) {
  if (last - first == 1) {
    return next({});
  }
  const int middle = first + (last - first) / 2;
  at::Tensor sum = subtree(first, middle, next);
  if (middle - first == 1) {
    sum = sum.clone();
  }
  return sum.add_(subtree(middle, last, next));
}

void GradientSum::add_over_ranks(const at::Tensor& part, const std::vector<at::Tensor>& earlier, std::int64_t begin) {
  c10::OptionalStreamGuard beside;
  if (beside_) {
    ready_->record(c10::impl::VirtualGuardImpl(device_.type()).getStream(device_));
    ready_->block(*beside_);
    beside.reset_stream(*beside_);
  }
  at::Tensor sum = part;
  for (auto left = earlier.rbegin(); left != earlier.rend(); ++left) {
    sum = left->narrow(0, begin, part.numel()).add_(sum);
  }
  if (deterministic_) {
    tree_all_reduce_sum(communicator_, sum);
  } else {
    communicator_.all_reduce_sum(sum);
  }
}

}  // namespace maskedkd
