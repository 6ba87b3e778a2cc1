// The operations of a plan. CUDA code, which is C++17, includes this too.
#pragma once

#include <cstdint>

namespace maskedkd {

enum class OperationKind : std::uint8_t {
  auto_contrast,
  equalize,
  invert,
  posterize,      // argument: bits to keep
  solarize,       // argument: the lowest level that is inverted
  solarize_add,   // argument: added to levels below 128
  color,          // argument: factor; 0 is gray, 1 changes nothing
  contrast,       // argument: factor; 0 is the mean luma
  brightness,     // argument: factor; 0 is black
  sharpness,      // argument: factor; 0 is smoothed
  rotate,         // argument: degrees counter-clockwise
  shear_x,        // argument: columns for each row
  shear_y,        // argument: rows for each column
  translate_x,    // argument: share of the width, to the left
  translate_y,    // argument: share of the height, upwards
  gaussian_blur,  // argument: standard deviation, pixels
  grayscale,
};
inline constexpr int kNumOperationKinds = 17;

}  // namespace maskedkd
