// The operations of RandAugment, 3-Augment and colour jitter on one image. An operation is a plain value, drawn into a
// TrainingPlan by augment.hpp; applying it is pure and gives what PIL gives: to the bit, but for rotate, shear and
// translate, which may differ by one level in one value of a thousand. The bits do not depend on the processor.
#pragma once

#include "maskedkd/images/image.hpp"
#include "maskedkd/images/pixel_arithmetic.hpp"

#include <array>
#include <cstdint>
#include <span>
#include <string_view>

namespace maskedkd {

enum class OperationKind : std::uint8_t {
  auto_contrast,
  equalize,
  invert,
  posterize,      // argument: bits to keep
  solarize,       // argument: the level from which on levels are inverted
  solarize_add,   // argument: added to levels below 128
  color,          // argument: factor; 0 is gray, 1 changes nothing
  contrast,       // argument: factor; 0 is the mean luma
  brightness,     // argument: factor; 0 is black
  sharpness,      // argument: factor; 0 is smoothed
  rotate,         // argument: degrees counter-clockwise
  shear_x,        // argument: columns a row
  shear_y,        // argument: rows a column
  translate_x,    // argument: share of the width, to the left
  translate_y,    // argument: share of the height, upwards
  gaussian_blur,  // argument: standard deviation, pixels
  grayscale,
};
inline constexpr int kNumOperationKinds = 17;
std::string_view to_string(OperationKind kind);

struct ImageOperation {
  OperationKind kind = OperationKind::auto_contrast;
  double argument = 0;
  Interpolation interpolation = Interpolation::bicubic;  // of rotate, shear and translate
  bool operator==(const ImageOperation&) const = default;
};

// What a rotation, shear or translation leaves empty: ImageNet's mean colour.
inline constexpr std::array<std::uint8_t, 3> kFillColour = {124, 116, 104};

// pixels: [height, width, 3], changed in place. Thread-safe; keeps a buffer a thread.
void apply_operation(const ImageOperation& operation, std::span<std::uint8_t> pixels, int height, int width);

bool is_geometric(OperationKind kind);
AffineMap affine_map(const ImageOperation& operation, int height, int width);  // of a geometric one
BoxWeights box_weights(double radius);                                         // of a Gaussian blur
inline constexpr int kBoxPasses = 3;                                           // in each direction

}  // namespace maskedkd
