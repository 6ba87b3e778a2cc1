// Kinds of unusual image files. They are packed so that they are read as PIL reads them, and the summary counts them.
#pragma once

#include <array>

namespace maskedkd {

// misnamed: a PNG called .jpg, or the other way round (ImageNet has one). rotated: its EXIF data give an orientation,
// which PIL's open() and the trainer ignore.
inline constexpr std::array<const char*, 5> kOddNames = {"gray", "cmyk", "16-bit", "rotated", "misnamed"};

}  // namespace maskedkd
