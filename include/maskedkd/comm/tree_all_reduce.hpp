// Sums one flat tensor over the ranks in a fixed tree of pairs at distance 1, 2, 4, ...: deterministic, and together
// with pairwise sums inside each rank bit for bit the result of one rank, when the number of ranks is a power of two.
#pragma once

#include "maskedkd/comm/communicator.hpp"

namespace maskedkd {

// Collective. tensor: [P], in place; afterwards every rank has the same bits, which do not depend on how a longer
// tensor is cut into parts that are summed one after the other. Each rank sends and receives 2 (1 - 1/n) times the
// tensor's bytes. Where the number of ranks is not a power of two, the first ranks add the tensors of the surplus ranks
// before the tree (the same bits on every run of that size), which costs them once the tensor's bytes more.
void tree_all_reduce_sum(Communicator& communicator, at::Tensor& tensor);

}  // namespace maskedkd
