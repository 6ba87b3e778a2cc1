// What of a set of photographs is none of the usual RGB files under its right name. All of it is packed as PIL would
// read it; that it was there is worth a line.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>

namespace maskedkd {

// misnamed: a PNG called .jpg, or the other way round (ImageNet has one). rotated: its EXIF asks for another
// orientation, which PIL's open() and the trainer leave as it is.
inline constexpr std::array<const char*, 6> kOddNames = {"gray", "cmyk", "16-bit", "alpha", "rotated", "misnamed"};

// file_bytes: an image that was found whole. Bit i: kOddNames[i].
std::uint32_t oddities_of(std::span<const std::uint8_t> file_bytes, std::string_view name);

}  // namespace maskedkd
