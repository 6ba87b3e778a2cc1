// Sums one flat tensor over the ranks in a fixed tree of pairs at distance 1, 2, 4, ...: deterministic, and together
// with pairwise sums inside each rank bit for bit the result of one rank, when the number of ranks is a power of two.
#pragma once

#include "maskedkd/comm/communicator.hpp"

namespace maskedkd {

// Collective. In place; afterwards every rank has the same bits. Where the number of ranks is not a power of two, the
// first ranks add the tensors of the surplus ranks before the tree: the same bits on every run of that size.
void tree_all_reduce_sum(Communicator& communicator, at::Tensor& tensor);

}  // namespace maskedkd
