// Sums one flat tensor over the ranks. Deterministic: a fixed tree, pairs at distance 1, 2, 4, ..., so that together
// with pairwise sums inside a rank the result is bit for bit that of one rank when the rank count is a power of two.
#pragma once

#include "maskedkd/comm/communicator.hpp"

namespace maskedkd {

// Collective. In place; afterwards every rank holds the same bits. For a size that is no power of two the first ranks
// take the surplus ranks' sums in before the tree: the same bits on every run with that size.
void tree_all_reduce_sum(Communicator& communicator, at::Tensor& tensor);

}  // namespace maskedkd
