// The arithmetic of PIL's antialiased resize, which the passes on the CPU and a CUDA kernel share: which pixels of the
// input contribute to a pixel of the output, and their weights, in fixed point of 22 bits. Every product and every sum
// is rounded separately: host code that includes this is compiled with -ffp-contract=off, device code with -fmad=false.
#pragma once

#include "maskedkd/codecs/pixel_arithmetic.hpp"

#include <cmath>
#include <cstdint>

namespace maskedkd {

inline constexpr int kWeightBits = 32 - 8 - 2;
inline constexpr std::int32_t kWeightHalf = 1 << (kWeightBits - 1);

// The level of a sum of levels times weights that was started with kWeightHalf.
MASKEDKD_HOST_DEVICE inline std::uint8_t resampled_level(std::int32_t sum) {
  const std::int32_t level = sum >> kWeightBits;
  return static_cast<std::uint8_t>(level < 0 ? 0 : level > 255 ? 255 : level);
}

// The weight of a filter at a distance from its centre. kSupport: the distance from which the weight is 0.
struct TriangleFilter {
  static constexpr double kSupport = 1.0;
  MASKEDKD_HOST_DEVICE static double weight(double x) {
    const double inside = 1.0 - std::fabs(x);
    return inside > 0.0 ? inside : 0.0;
  }
};

// Computes both pieces and selects one, so that the loop over it has no branches.
struct CubicFilter {
  static constexpr double kSupport = 2.0;
  MASKEDKD_HOST_DEVICE static double weight(double x) {
    constexpr double a = -0.5;
    x = std::fabs(x);
    const double inner = ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0;
    const double outer = (((x - 5.0) * x + 8.0) * x - 4.0) * a;
    const double tail = x < 2.0 ? outer : 0.0;
    return x < 1.0 ? inner : tail;
  }
};

struct WeightWindow {
  int begin;
  int length;
};

struct ResampleAxis {
  double scale, filter_scale, support;
  int input;

  MASKEDKD_HOST_DEVICE ResampleAxis(double filter_support, int from, int to)
      : scale(static_cast<double>(from) / to),
        filter_scale(scale > 1.0 ? scale : 1.0),
        support(filter_support * filter_scale),
        input(from) {}

  MASKEDKD_HOST_DEVICE double centre(int output) const { return (output + 0.5) * scale; }
  MASKEDKD_HOST_DEVICE WeightWindow window(int output) const {
    const int first = static_cast<int>(centre(output) - support + 0.5);
    const int last = static_cast<int>(centre(output) + support + 0.5);
    const int begin = first > 0 ? first : 0;
    return {begin, (last < input ? last : input) - begin};
  }
  // An upper bound for the length of windows.
  MASKEDKD_HOST_DEVICE int longest_window() const { return static_cast<int>(std::ceil(support)) * 2 + 1; }
};

// share: a weight divided by the sum of the output's weights.
MASKEDKD_HOST_DEVICE inline std::int32_t fixed_weight(double share) {
  const double fixed = share * (1 << kWeightBits);
  return static_cast<std::int32_t>(fixed + std::copysign(0.5, fixed));
}

}  // namespace maskedkd
