#include "maskedkd/comm/tree_all_reduce.hpp"

#include "maskedkd/base/activity.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty_like.h>

#include <algorithm>
#include <bit>

namespace maskedkd {
namespace {

// Values; 128 bytes: parts that begin at a multiple stay aligned for the vector loads of CPUs and GPUs.
constexpr std::int64_t kAlignment = 32;

// The size of the first half of so many values; the second half is not larger.
std::int64_t first_half(std::int64_t count) {
  return std::min(count, ((count + 1) / 2 + kAlignment - 1) / kAlignment * kAlignment);
}

// Recursive halving, then recursive doubling (Thakur, Rabenseifner and Gropp 2005): the ranks of a pair exchange
// halves, and each adds its own. In the kept half the partner at the next distance does the same, so that each value is
// added in the tree of pairs; on the way back both get the half that they gave away. a + b and b + a have the same
// bits.
void add_in_pairs(Communicator& communicator, const at::Tensor& values, const at::Tensor& scratch, int distance,
                  int tree_size) {
  if (distance == tree_size) {
    return;
  }
  const std::int64_t middle = first_half(values.numel());
  at::Tensor kept = values.narrow(0, 0, middle), given = values.narrow(0, middle, values.numel() - middle);
  if ((communicator.rank() & distance) != 0) {
    std::swap(kept, given);
  }
  at::Tensor received = scratch.narrow(0, 0, kept.numel());
  const int partner = communicator.rank() ^ distance;
  communicator.exchange(given, received, partner);
  kept += received;
  add_in_pairs(communicator, kept, scratch, distance * 2, tree_size);
  communicator.exchange(kept, given, partner);
}

}  // namespace

void tree_all_reduce_sum(Communicator& communicator, at::Tensor& tensor) {
  if (communicator.size() == 1) {
    return;
  }
  const at::NoGradGuard no_grad;
  const int rank = communicator.rank();
  const int tree_size = static_cast<int>(std::bit_floor(static_cast<unsigned>(communicator.size())));
  const int surplus = communicator.size() - tree_size;
  const int exchanges_in_pairs = 2 * std::countr_zero(static_cast<unsigned>(tree_size));
  at::Tensor nothing = tensor.narrow(0, 0, 0);
  // The surplus rank tree_size + i sends to rank i, and receives the sum from it.
  if (rank >= tree_size) {
    communicator.exchange(tensor, nothing, rank - tree_size);
    communicator.activity().skip_collectives(exchanges_in_pairs);
    communicator.exchange(nothing, tensor, rank - tree_size);
    return;
  }
  const bool has_surplus_rank = rank < surplus;
  at::Tensor scratch = at::empty_like(has_surplus_rank ? tensor : tensor.narrow(0, 0, first_half(tensor.numel())));
  if (has_surplus_rank) {
    communicator.exchange(nothing, scratch, rank + tree_size);
    tensor += scratch;
  }
  add_in_pairs(communicator, tensor, scratch, 1, tree_size);
  if (has_surplus_rank) {
    communicator.exchange(tensor, nothing, rank + tree_size);
  } else if (surplus > 0) {
    communicator.activity().skip_collectives(2);
  }
}

}  // namespace maskedkd
