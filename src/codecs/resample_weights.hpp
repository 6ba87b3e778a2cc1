// The weights of PIL's resize along one axis: for each output position which input positions count, and how much, in
// fixed point of 22 bits.
#pragma once

#include "maskedkd/codecs/image.hpp"
#include "maskedkd/codecs/resample_arithmetic.hpp"

#include <cstdint>
#include <vector>

namespace maskedkd {

struct ResampleWeights {
  std::vector<WeightWindow> windows;  // for each output position: where in the input, how many
  std::vector<std::int32_t> values;   // [output, stride]: window.length of each row count
  int stride = 0;

  int first() const { return windows.front().begin; }
  int last() const { return windows.back().begin + windows.back().length; }  // one behind
  const std::int32_t* of(int output) const { return &values[static_cast<std::size_t>(output) * stride]; }
};

// Of the outputs first .. first + count. input == output: each position is itself, as PIL leaves such an axis alone.
ResampleWeights resample_weights(Interpolation interpolation, int input, int output, int first, int count);
// first() and last() of those, without them.
WeightWindow needed_along(Interpolation interpolation, int input, int output, int first, int count);

}  // namespace maskedkd
