#include "resample_weights.hpp"

namespace maskedkd {
namespace {

template <typename Filter>
ResampleWeights weights_of(int input, int output, int first, int count) {
  const ResampleAxis axis(Filter::kSupport, input, output);
  ResampleWeights weights;
  const int stride = axis.longest_window();
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
      row[i] = fixed_weight(exact[i] / total);
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
  return interpolation == Interpolation::bilinear ? weights_of<TriangleFilter>(input, output, first, count)
                                                  : weights_of<CubicFilter>(input, output, first, count);
}

WeightWindow needed_along(Interpolation interpolation, int input, int output, int first, int count) {
  if (input == output) {
    return {first, count};
  }
  const ResampleAxis axis(interpolation == Interpolation::bilinear ? TriangleFilter::kSupport : CubicFilter::kSupport,
                          input, output);
  const auto [begin, length] = axis.window(first + count - 1);
  const int first_begin = axis.window(first).begin;
  return {first_begin, begin + length - first_begin};
}

}  // namespace maskedkd
