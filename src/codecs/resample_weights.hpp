// The weights of PIL's resize along one axis: for each output position, which input positions contribute to it and
// their weights, in fixed point of 22 bits.
#pragma once

#include "maskedkd/codecs/image.hpp"
#include "maskedkd/codecs/resample_arithmetic.hpp"

#include <cstdint>
#include <vector>

namespace maskedkd {

struct ResampleWeights {
  std::vector<WeightWindow> windows;  // of each output position: its range in the input
  std::vector<std::int32_t> values;   // [output, stride], of which each row uses the first window.length
  int stride = 0;

  int first() const { return windows.front().begin; }
  int last() const { return windows.back().begin + windows.back().length; }  // one past the last
  const std::int32_t* of(int output) const { return &values[static_cast<std::size_t>(output) * stride]; }
};

// Of the outputs first .. first + count - 1. input == output: the identity, as PIL skips the pass along such an axis.
ResampleWeights resample_weights(Interpolation interpolation, int input, int output, int first, int count);
// The range from first() to last() of those weights, without computing them.
WeightWindow needed_along(Interpolation interpolation, int input, int output, int first, int count);

}  // namespace maskedkd
