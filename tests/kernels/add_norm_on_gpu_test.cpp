// Compares the residual sum, its norm and their gradients on a GPU with the same on the CPU. What is computed column by
// column has equal bits; sums over a row, or over rows, are added in another order.
#include "add_norm_cases.hpp"

#include <c10/cuda/CUDAFunctions.h>
#include <gtest/gtest.h>

#include <algorithm>

namespace maskedkd::testing {
namespace {

const at::Device kGpu(at::kCUDA, 0);

at::Tensor moved(const at::Tensor& tensor) { return tensor.defined() ? tensor.to(kGpu) : tensor; }

void expect_results_of_cpu(const AddNormCase& test, at::ScalarType dtype) {
  const AddNormInput input = random_input(test, dtype);
  const AddNormOutputGradients gradients = random_gradients(test, dtype);
  const auto expected = computed(input, gradients, dtype).named();
  const AddNormInput on_gpu = {moved(input.tokens),  moved(input.branch), moved(input.scale),
                               moved(input.factors), moved(input.weight), moved(input.bias)};
  const auto found = computed(on_gpu, {moved(gradients.sum), moved(gradients.normed)}, dtype).named();
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const auto& [name, on_cpu] = expected[i];
    ASSERT_EQ(found[i].second.defined(), on_cpu.defined()) << name;
    if (!on_cpu.defined()) {
      continue;
    }
    const at::Tensor other = found[i].second.cpu();
    if (i == 0) {
      EXPECT_TRUE(other.equal(on_cpu)) << name;
      continue;
    }
    // A value near the middle between two of bfloat16 may be rounded to either.
    const double largest = on_cpu.scalar_type() == at::kBFloat16 ? 4e-3 : 1e-5;
    const double size = std::max(1.0, on_cpu.to(at::kDouble).norm().item<double>());
    EXPECT_LE((other.to(at::kDouble) - on_cpu.to(at::kDouble)).norm().item<double>(), largest * size) << name;
  }
}

TEST(AddNormOnGpu, HasTheResultsOfTheCpu) {
  if (!has_add_norm(kGpu, at::kFloat)) {
    GTEST_SKIP() << "built without nvcc";
  }
  if (c10::cuda::device_count() == 0) {
    GTEST_SKIP() << "there is no GPU";
  }
  at::manual_seed(11);
  std::vector<AddNormCase> cases = add_norm_cases();
  cases.push_back({{4, 197, 768}, true, true, true, true});  // many chunks of rows
  for (const AddNormCase& test : cases) {
    for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
      SCOPED_TRACE(test.name() + " " + c10::toString(dtype));
      expect_results_of_cpu(test, dtype);
    }
  }
}

}  // namespace
}  // namespace maskedkd::testing
