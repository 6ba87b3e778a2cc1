// What of a set of photographs is none of the usual RGB files under its right name. All of it is packed as PIL would
// read it; that it was there is worth a line.
#pragma once

#include <array>

namespace maskedkd {

// misnamed: a PNG called .jpg, or the other way round (ImageNet has one). rotated: its EXIF asks for another
// orientation, which PIL's open() and the trainer leave as it is.
inline constexpr std::array<const char*, 5> kOddNames = {"gray", "cmyk", "16-bit", "rotated", "misnamed"};

}  // namespace maskedkd
