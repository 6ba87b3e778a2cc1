// The operations of RandAugment, 3-Augment and colour jitter on one image. An operation is a plain value, drawn into a
// TrainingPlan by augment.hpp. Applying it is pure and gives PIL's bits, except that rotate, shear and translate may
// differ by one level in one value of a thousand. The bits do not depend on the processor.
#pragma once

#include "maskedkd/augment/operation_kind.hpp"
#include "maskedkd/codecs/image.hpp"
#include "maskedkd/codecs/pixel_arithmetic.hpp"

#include <array>
#include <cstdint>
#include <span>
#include <string_view>

namespace maskedkd {

std::string_view to_string(OperationKind kind);

struct ImageOperation {
  OperationKind kind = OperationKind::auto_contrast;
  double argument = 0;
  Interpolation interpolation = Interpolation::bicubic;  // for rotate, shear and translate
  bool operator==(const ImageOperation&) const = default;
};

// The colour of the pixels that a rotation, shear or translation leaves empty.
inline constexpr std::array<std::uint8_t, 3> kFillColour = {fill_level(0), fill_level(1), fill_level(2)};

// pixels: [height, width, 3], changed in place. Thread-safe: each thread keeps a buffer.
void apply_operation(const ImageOperation& operation, std::span<std::uint8_t> pixels, int height, int width);

bool is_geometric(OperationKind kind);
AffineMap affine_map(const ImageOperation& operation, int height, int width);  // of a geometric one
BoxWeights box_weights(double radius);                                         // of a Gaussian blur

}  // namespace maskedkd
