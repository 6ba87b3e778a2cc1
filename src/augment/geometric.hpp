// Rotations, shears and translations, for operations.cpp.
#pragma once

#include "maskedkd/augment/operations.hpp"

namespace maskedkd {

// source and out: [height, width, 3], not overlapping.
void apply_affine(const AffineMap& map, Interpolation interpolation, const std::uint8_t* source, std::uint8_t* out,
                  int height, int width);

}  // namespace maskedkd
