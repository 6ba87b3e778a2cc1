#include "maskedkd/comm/tree_all_reduce.hpp"

#include "maskedkd/base/activity.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty_like.h>

#include <bit>

namespace maskedkd {

void tree_all_reduce_sum(Communicator& communicator, at::Tensor& tensor) {
  const at::NoGradGuard no_grad;
  const int rank = communicator.rank();
  int tree_size = 1;
  while (tree_size * 2 <= communicator.size()) {
    tree_size *= 2;
  }
  const int surplus = communicator.size() - tree_size;
  if (communicator.size() == 1) {
    return;
  }
  at::Tensor received = at::empty_like(tensor);
  // The surplus rank tree_size + i is paired with rank i.
  if (rank < surplus || rank >= tree_size) {
    communicator.exchange(tensor, received, rank < surplus ? rank + tree_size : rank - tree_size);
    tensor += received;  // both have the same sum; the surplus rank no longer needs it
  } else if (surplus > 0) {
    communicator.activity().skip_collectives(1);
  }
  if (rank < tree_size) {
    // a + b and b + a have the same bits, so both ranks of a pair continue with the same number.
    for (int distance = 1; distance < tree_size; distance *= 2) {
      communicator.exchange(tensor, received, rank ^ distance);
      tensor += received;
    }
  } else {
    communicator.activity().skip_collectives(std::countr_zero(static_cast<unsigned>(tree_size)));
  }
  if (rank < surplus || rank >= tree_size) {
    communicator.exchange(tensor, received, rank < surplus ? rank + tree_size : rank - tree_size);
    if (rank >= tree_size) {
      tensor.copy_(received);
    }
  } else if (surplus > 0) {
    communicator.activity().skip_collectives(1);
  }
}

}  // namespace maskedkd
