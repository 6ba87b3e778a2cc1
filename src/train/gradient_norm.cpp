#include "maskedkd/train/gradient_norm.hpp"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/clamp.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/scalar_tensor.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <vector>

namespace maskedkd {
namespace {

constexpr std::int64_t kChunk = 65536;  // values in one partial sum

double sum_of_squares(const float* values, std::int64_t count) {
  constexpr std::int64_t kLanes = 16;  // independent sums, for vector registers
  std::array<double, kLanes> sums{};
  const std::int64_t whole = count - count % kLanes;
  for (std::int64_t i = 0; i < whole; i += kLanes) {
    for (std::int64_t lane = 0; lane < kLanes; ++lane) {
      const double value = values[i + lane];
      sums[static_cast<std::size_t>(lane)] += value * value;
    }
  }
  double total = std::accumulate(sums.begin(), sums.end(), 0.0);
  for (std::int64_t i = whole; i < count; ++i) {
    const double value = values[i];
    total += value * value;
  }
  return total;
}

double norm_on_cpu(const at::Tensor& values) {
  const float* first = values.const_data_ptr<float>();
  const std::int64_t count = values.numel();
  std::vector<double> sums(static_cast<std::size_t>((count + kChunk - 1) / kChunk));
  at::parallel_for(
      0, static_cast<std::int64_t>(sums.size()), /*grain_size=*/1, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t chunk = begin; chunk < end; ++chunk) {
          const std::int64_t offset = chunk * kChunk;
          sums[static_cast<std::size_t>(chunk)] = sum_of_squares(first + offset, std::min(kChunk, count - offset));
        }
      });
  return std::sqrt(std::accumulate(sums.begin(), sums.end(), 0.0));
}

// A GPU adds in a tree, which is exact enough within a chunk; a float64 copy would take twice the gradient's memory.
at::Tensor norm_on_gpu(const at::Tensor& values) {
  const auto norm_of = [](const at::Tensor& norms) { return at::linalg_vector_norm(norms.to(at::kDouble), 2); };
  const std::int64_t whole = values.numel() - values.numel() % kChunk;
  const std::array<std::int64_t, 1> rows = {1};
  const at::Tensor chunks = norm_of(
      at::linalg_vector_norm(values.narrow(0, 0, whole).view({whole / kChunk, kChunk}), 2, at::IntArrayRef(rows)));
  const at::Tensor rest = norm_of(at::linalg_vector_norm(values.narrow(0, whole, values.numel() - whole), 2));
  return (chunks * chunks + rest * rest).sqrt();
}

}  // namespace

at::Tensor euclidean_norm(const at::Tensor& values) {
  return values.is_cpu() ? at::scalar_tensor(norm_on_cpu(values), at::kDouble) : norm_on_gpu(values);
}

void clip_to_norm(const at::Tensor& gradient, const at::Tensor& norm, double largest) {
  constexpr double kEpsilon = 1e-6;  // as in PyTorch
  const at::Tensor factor = (largest / (norm + kEpsilon)).clamp_max(1.0);
  if (factor.is_cuda() || factor.item<double>() < 1) {  // a GPU's answer is not waited for; 1 changes no bit
    gradient.mul_(factor);
  }
}

}  // namespace maskedkd
