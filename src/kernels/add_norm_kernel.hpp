// The sum of the tokens and a residual branch, the LayerNorm of that sum, and their gradients, a row at a time. One
// source for CUDA and the CPU: Lanes is who shares a row, a warp or a vector unit. A lane writes and reads the same
// columns throughout, so nothing waits. Products and sums are rounded separately. C++17.
//
// R rows, D columns.
#pragma once

#include "maskedkd/base/host_device.hpp"

#include <cmath>
#include <cstdint>
#include <cstring>

namespace maskedkd::kernel {

struct Bfloat16 {
  std::uint16_t bits;
};

MASKEDKD_ALWAYS_INLINE float to_float(float value) { return value; }
MASKEDKD_ALWAYS_INLINE float to_float(Bfloat16 value) {
  const std::uint32_t bits = std::uint32_t{value.bits} << 16;
  float result = 0;
  memcpy(&result, &bits, sizeof result);
  return result;
}

MASKEDKD_ALWAYS_INLINE void store(float value, float& to) { to = value; }
// To the nearest, ties to even; NaN as PyTorch has it.
MASKEDKD_ALWAYS_INLINE void store(float value, Bfloat16& to) {
  std::uint32_t bits = 0;
  memcpy(&bits, &value, sizeof bits);
  const std::uint32_t rounded = (bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16;
  to.bits = static_cast<std::uint16_t>((bits & 0x7FFFFFFFu) > 0x7F800000u ? 0x7FC0u : rounded);
}

struct Sums {
  float first, second;
};

// What both passes read. All pointers are to memory of the device that does the work.
struct AddNormParameters {
  const float* scale;    // [D] of the branch; nullptr: 1
  const float* factors;  // [R / rows_of_factor] of the branch; nullptr: 1
  const float* weight;   // [D]
  std::int64_t rows, rows_of_factor;
  int width;

  MASKEDKD_ALWAYS_INLINE float factor(std::int64_t row) const {
    return factors == nullptr ? 1.0f : factors[row / rows_of_factor];
  }
};

// T: the dtype of matrix products.
template <typename T>
struct AddNorm : AddNormParameters {
  const float* tokens;  // [R, D]
  const T* branch;      // [R, D]; nullptr: nothing is added
  const float* bias;    // [D]
  float epsilon;
  float* sum;                // [R, D], with a branch
  T* normed;                 // [R, D]; nullptr: only the sum
  float* mean;               // [R]; nullptr: nobody asks for a gradient
  float* inverse_deviation;  // [R]: 1 / sqrt(variance + epsilon)
};

template <typename T, typename Lanes>
MASKEDKD_ALWAYS_INLINE void add_norm_row(const AddNorm<T>& work, std::int64_t row, const Lanes& lanes) {
  const int width = work.width;
  const float* x = work.tokens + row * width;
  if (work.branch != nullptr) {
    const float* const tokens = x;
    const T* const branch = work.branch + row * width;
    const float* const scale = work.scale;
    float* const sum = work.sum + row * width;
    const float factor = work.factor(row);
    if (scale == nullptr) {
      lanes.for_each(width, [=](int i) { sum[i] = tokens[i] + to_float(branch[i]) * factor; });
    } else {
      lanes.for_each(width, [=](int i) { sum[i] = tokens[i] + to_float(branch[i]) * scale[i] * factor; });
    }
    x = sum;
  }
  if (work.normed == nullptr) {
    return;
  }
  const float mean = lanes.sums(width, [=](int i) { return Sums{x[i], 0}; }).first / static_cast<float>(width);
  const auto square = [=](int i) {
    const float difference = x[i] - mean;
    return Sums{difference * difference, 0};
  };
  const float variance = lanes.sums(width, square).first / static_cast<float>(width);
  const float inverse_deviation = 1.0f / std::sqrt(variance + work.epsilon);
  const float *const weight = work.weight, *const bias = work.bias;
  T* const normed = work.normed + row * width;
  lanes.for_each(width, [=](int i) { store((x[i] - mean) * inverse_deviation * weight[i] + bias[i], normed[i]); });
  if (work.mean != nullptr && lanes.is_first()) {
    work.mean[row] = mean;
    work.inverse_deviation[row] = inverse_deviation;
  }
}

constexpr std::int64_t kRowsOfChunk = 16;  // of the gradients that are sums over rows

template <typename T>
struct AddNormBackward : AddNormParameters {
  const float *sum, *mean, *inverse_deviation;  // [R, D], [R], [R] of the forward pass
  const T* branch;                              // [R, D]; nullptr: scale gets no gradient
  const float* sum_gradient;                    // [R, D]; nullptr: 0
  const T* normed_gradient;  // [R, D]; nullptr: there is no norm, and then the tokens' gradient is the sum's
  float* tokens_gradient;    // [R, D], with a norm
  T* branch_gradient;        // [R, D]; nullptr: not wanted
  // [chunks, D] each, of chunks of kRowsOfChunk rows: to be added; nullptr: not wanted
  float *weight_gradient, *bias_gradient, *scale_gradient;
};

// Of LayerNorm: r (g w - mean(g w) - x' mean(g w x')) for a row whose normalised values are x' (Ba, Kiros and Hinton
// 2016).
template <typename T, typename Lanes>
MASKEDKD_ALWAYS_INLINE void norm_backward_row(const AddNormBackward<T>& work, std::int64_t row, float* weight_gradient,
                                              float* bias_gradient, const Lanes& lanes) {
  const int width = work.width;
  const float *const x = work.sum + row * width, *const weight = work.weight;
  const T* const gradient = work.normed_gradient + row * width;
  const float mean = work.mean[row], inverse_deviation = work.inverse_deviation[row];
  const Sums sums = lanes.sums(width, [=](int i) {
    const float g = to_float(gradient[i]) * weight[i];
    return Sums{g, g * ((x[i] - mean) * inverse_deviation)};
  });
  const float first = sums.first / static_cast<float>(width), second = sums.second / static_cast<float>(width);
  const float* const more = work.sum_gradient == nullptr ? nullptr : work.sum_gradient + row * width;
  float* const result = work.tokens_gradient + row * width;
  const auto own = [=](int i) {
    return inverse_deviation * (to_float(gradient[i]) * weight[i] - first - (x[i] - mean) * inverse_deviation * second);
  };
  if (more == nullptr) {
    lanes.for_each(width, [=](int i) { result[i] = own(i); });
  } else {
    lanes.for_each(width, [=](int i) { result[i] = more[i] + own(i); });
  }
  if (weight_gradient != nullptr) {
    lanes.for_each(width, [=](int i) {
      const float g = to_float(gradient[i]);
      weight_gradient[i] += g * ((x[i] - mean) * inverse_deviation);
      bias_gradient[i] += g;
    });
  }
}

template <typename T, typename Lanes>
MASKEDKD_ALWAYS_INLINE void branch_backward_row(const AddNormBackward<T>& work, std::int64_t row, float* scale_gradient,
                                                const Lanes& lanes) {
  const int width = work.width;
  const float* const gradient =
      (work.normed_gradient == nullptr ? work.sum_gradient : work.tokens_gradient) + row * width;
  const float* const scale = work.scale;
  T* const result = work.branch_gradient + row * width;
  const float factor = work.factor(row);
  if (scale == nullptr) {
    lanes.for_each(width, [=](int i) { store(gradient[i] * factor, result[i]); });
  } else {
    lanes.for_each(width, [=](int i) { store(gradient[i] * factor * scale[i], result[i]); });
  }
  if (scale_gradient != nullptr) {
    const T* const branch = work.branch + row * width;
    lanes.for_each(width, [=](int i) { scale_gradient[i] += gradient[i] * factor * to_float(branch[i]); });
  }
}

template <typename T, typename Lanes>
MASKEDKD_ALWAYS_INLINE void add_norm_backward_chunk(const AddNormBackward<T>& work, std::int64_t chunk,
                                                    const Lanes& lanes) {
  const int width = work.width;
  const auto of_chunk = [&](float* gradients) {
    if (gradients == nullptr) {
      return gradients;
    }
    float* const gradient = gradients + chunk * width;
    lanes.for_each(width, [=](int i) { gradient[i] = 0; });
    return gradient;
  };
  float* const weight_gradient = of_chunk(work.weight_gradient);
  float* const bias_gradient = of_chunk(work.bias_gradient);
  float* const scale_gradient = of_chunk(work.scale_gradient);
  const std::int64_t first = chunk * kRowsOfChunk;
  const std::int64_t last = first + kRowsOfChunk < work.rows ? first + kRowsOfChunk : work.rows;
  for (std::int64_t row = first; row < last; ++row) {
    if (work.normed_gradient != nullptr) {
      norm_backward_row(work, row, weight_gradient, bias_gradient, lanes);
    }
    if (work.branch_gradient != nullptr) {
      branch_backward_row(work, row, scale_gradient, lanes);
    }
  }
}

}  // namespace maskedkd::kernel
