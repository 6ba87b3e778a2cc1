#include "resample_weights.hpp"

#include <algorithm>
#include <cmath>

namespace maskedkd {
namespace {

// A filter's weight at a distance from its centre, and the distance from which on it is 0.
struct Triangle {
  static constexpr double kSupport = 1.0;
  static double weight(double x) { return std::max(0.0, 1.0 - std::abs(x)); }
};

// Both pieces are computed and one is chosen, so that the loop over them has no branches to guess.
struct Cubic {
  static constexpr double kSupport = 2.0;
  static double weight(double x) {
    constexpr double a = -0.5;
    x = std::abs(x);
    const double inner = ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0;
    const double outer = (((x - 5.0) * x + 8.0) * x - 4.0) * a;
    const double tail = x < 2.0 ? outer : 0.0;
    return x < 1.0 ? inner : tail;
  }
};

struct Axis {
  double scale, filter_scale, support;
  int input;

  Axis(double filter_support, int from, int to)
      : scale(static_cast<double>(from) / to),
        filter_scale(std::max(scale, 1.0)),
        support(filter_support * filter_scale),
        input(from) {}

  double centre(int output) const { return (output + 0.5) * scale; }
  WeightWindow window(int output) const {
    const int begin = std::max(0, static_cast<int>(centre(output) - support + 0.5));
    return {begin, std::min(input, static_cast<int>(centre(output) + support + 0.5)) - begin};
  }
};

template <typename Filter>
ResampleWeights weights_of(int input, int output, int first, int count) {
  const Axis axis(Filter::kSupport, input, output);
  ResampleWeights weights;
  const int stride = static_cast<int>(std::ceil(axis.support)) * 2 + 1;
  weights.stride = stride;
  weights.windows.resize(count);
  weights.values.resize(static_cast<std::size_t>(count) * stride);
  std::vector<double> exact(stride);
  const double inverse = 1.0 / axis.filter_scale;
  for (int out = 0; out < count; ++out) {
    const double centre = axis.centre(first + out);
    const auto [begin, length] = weights.windows[out] = axis.window(first + out);
    double total = 0.0;
    for (int i = 0; i < length; ++i) {
      exact[i] = Filter::weight((begin + i - centre + 0.5) * inverse);
      total += exact[i];
    }
    if (total == 0.0) {
      total = 1.0;
    }
    std::int32_t* row = &weights.values[static_cast<std::size_t>(out) * stride];
    for (int i = 0; i < length; ++i) {
      const double fixed = exact[i] / total * (1 << kWeightBits);
      row[i] = static_cast<std::int32_t>(fixed + std::copysign(0.5, fixed));
    }
  }
  return weights;
}

}  // namespace

ResampleWeights resample_weights(Interpolation interpolation, int input, int output, int first, int count) {
  if (input == output) {
    ResampleWeights weights;
    weights.stride = 1;
    weights.windows.resize(count);
    weights.values.assign(count, 1 << kWeightBits);
    for (int out = 0; out < count; ++out) {
      weights.windows[out] = {first + out, 1};
    }
    return weights;
  }
  return interpolation == Interpolation::bilinear ? weights_of<Triangle>(input, output, first, count)
                                                  : weights_of<Cubic>(input, output, first, count);
}

WeightWindow needed_along(Interpolation interpolation, int input, int output, int first, int count) {
  if (input == output) {
    return {first, count};
  }
  const Axis axis(interpolation == Interpolation::bilinear ? Triangle::kSupport : Cubic::kSupport, input, output);
  const auto [begin, length] = axis.window(first + count - 1);
  const int first_begin = axis.window(first).begin;
  return {first_begin, begin + length - first_begin};
}

}  // namespace maskedkd
