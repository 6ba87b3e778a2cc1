// The sum of a step's gradients has the bits of halves of halves over all its micro-batches, as one process adds them,
// whatever the parts are in which the last gradient arrives.
#include "maskedkd/train/gradient_sum.hpp"

#include "maskedkd/comm/mpi_session.hpp"
#include "support/mpi_test.hpp"

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>

#include <bit>
#include <memory>
#include <vector>

namespace maskedkd {
namespace {

using testing::mpi_session;

constexpr std::int64_t kValues = 10'007;

// Of magnitudes so different that the order of additions matters.
at::Tensor gradient_of(int micro_batch) {
  const at::Tensor index = at::arange(kValues, at::kDouble) + 7919.0 * micro_batch;
  return ((index * 12.9898).sin() * (index * 0.37).cos().mul(9).exp()).to(at::kFloat);
}

at::Tensor halves_of_halves(int first, int count) {
  return count == 1 ? gradient_of(first)
                    : halves_of_halves(first, count / 2) + halves_of_halves(first + count / 2, count - count / 2);
}

class GradientSumTest : public ::testing::TestWithParam<int> {
 protected:
  // Of this rank's `per_rank` micro-batches, the last one in parts that begin at `begins`.
  at::Tensor sum_of(int per_rank, const std::vector<std::int64_t>& begins, bool deterministic) {
    GradientSum sum(*communicator_, at::kCPU, deterministic);
    const int first = session_.rank() * per_rank;
    int next = first;
    const at::Tensor memory = at::empty({kValues});  // as of a step, of which each run overwrites the last
    const at::Tensor result = sum.of(first, first + per_rank, [&](const GradientSum::OnPart& on_part) {
      EXPECT_EQ(static_cast<bool>(on_part), next + 1 == first + per_rank && session_.size() > 1);
      const at::Tensor gradient = gradient_of(next++);
      memory.fill_(kNotYet);
      if (!on_part) {
        return memory.copy_(gradient);
      }
      std::int64_t end = kValues;
      for (const std::int64_t begin : begins) {
        at::Tensor part = memory.narrow(0, begin, end - begin);
        part.copy_(gradient.narrow(0, begin, end - begin));
        on_part(begin, part);
        end = begin;
      }
      return memory;
    });
    EXPECT_EQ(next, first + per_rank);
    return result.clone();
  }

  static constexpr double kNotYet = 1e30;
  const MpiSession& session_ = mpi_session();
  std::unique_ptr<Communicator> communicator_ = make_communicator(session_, at::kCPU);
};

TEST_P(GradientSumTest, HasTheBitsOfOneProcess) {
  const int per_rank = GetParam(), ranks = session_.size();
  if (!std::has_single_bit(static_cast<unsigned>(ranks))) {
    GTEST_SKIP() << "the promise is for powers of two";
  }
  const at::Tensor expected = halves_of_halves(0, ranks * per_rank);
  for (const std::vector<std::int64_t>& begins : {std::vector<std::int64_t>{0}, {5000, 0}, {10'000, 9'999, 3, 0}}) {
    EXPECT_TRUE(at::equal(sum_of(per_rank, begins, true), expected)) << begins.size() << " parts";
  }
}

TEST_P(GradientSumTest, IsTheSumInAnyOrderOnAnyNumberOfRanks) {
  const int per_rank = GetParam(), ranks = session_.size();
  at::Tensor exact = at::zeros({kValues}, at::kDouble), magnitude = at::zeros({kValues}, at::kDouble);
  for (int i = 0; i < ranks * per_rank; ++i) {
    exact += gradient_of(i).to(at::kDouble);
    magnitude += gradient_of(i).to(at::kDouble).abs();
  }
  for (const bool deterministic : {false, true}) {
    const at::Tensor sum = sum_of(per_rank, {7000, 0}, deterministic);
    // Error of a sum of n values in any order: n - 1 half-ulps of the sum of magnitudes (Higham 2002, section 4.2).
    const at::Tensor allowed = magnitude * (ranks * per_rank * 0x1p-24);
    EXPECT_TRUE((sum.to(at::kDouble) - exact).abs().le(allowed).all().item<bool>());
  }
}

INSTANTIATE_TEST_SUITE_P(MicroBatches, GradientSumTest, ::testing::Values(1, 2, 3, 4, 7));

}  // namespace
}  // namespace maskedkd
