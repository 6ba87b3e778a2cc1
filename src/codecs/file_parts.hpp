// What the checks and the decoders of JPEG and PNG share. Internal to this module.
#pragma once

#include "maskedkd/base/error.hpp"
#include "maskedkd/codecs/file_check.hpp"

#include <cstddef>
#include <cstdint>
#include <span>

namespace maskedkd {

// Whether the file begins with PNG's signature, and is longer than that.
bool is_png(std::span<const std::uint8_t> bytes);

// Throws Error (usage) for a file that is neither; it names the format where it is known.
[[noreturn]] void refuse_format(std::span<const std::uint8_t> bytes);
// Throws Error (usage) where is_image_size() does not hold.
void refuse_size(std::int64_t height, std::int64_t width);
// 1 where there is no valid one. tiff: the bytes after "Exif\0\0" in a JPEG, the data of the chunk eXIf in a PNG.
int exif_orientation(std::span<const std::uint8_t> tiff);

ImageFileFacts check_jpeg(std::span<const std::uint8_t> bytes);
ImageFileFacts check_png(std::span<const std::uint8_t> bytes);

// Big-endian numbers; the caller has checked that the bytes exist.
inline std::uint32_t big16(std::span<const std::uint8_t> bytes, std::size_t at) {
  return std::uint32_t{bytes[at]} << 8 | bytes[at + 1];
}
inline std::uint32_t big32(std::span<const std::uint8_t> bytes, std::size_t at) {
  return big16(bytes, at) << 16 | big16(bytes, at + 2);
}

}  // namespace maskedkd
