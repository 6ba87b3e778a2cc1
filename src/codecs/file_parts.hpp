// The walks behind file_check.hpp, and numbers in bytes.
#pragma once

#include "maskedkd/base/error.hpp"
#include "maskedkd/codecs/file_check.hpp"

#include <cstddef>
#include <cstdint>
#include <span>

namespace maskedkd {

// By the first bytes; a file of no more than them is neither.
bool is_jpeg(std::span<const std::uint8_t> bytes);
bool is_png(std::span<const std::uint8_t> bytes);

// Throws Error (usage) that names the format of a file that is neither, where it is a known one.
[[noreturn]] void refuse_format(std::span<const std::uint8_t> bytes);
// Throws Error (usage) where is_image_size() does not hold.
void refuse_size(std::int64_t height, std::int64_t width);
// 1 where there is none, or no valid one. tiff: what follows "Exif\0\0" in a JPEG, a PNG's chunk eXIf.
int exif_orientation(std::span<const std::uint8_t> tiff);

ImageFileFacts check_jpeg(std::span<const std::uint8_t> bytes);
ImageFileFacts check_png(std::span<const std::uint8_t> bytes);

// Big endian; the caller has seen that they are there.
inline std::uint32_t big16(std::span<const std::uint8_t> bytes, std::size_t at) {
  return std::uint32_t{bytes[at]} << 8 | bytes[at + 1];
}
inline std::uint32_t big32(std::span<const std::uint8_t> bytes, std::size_t at) {
  return big16(bytes, at) << 16 | big16(bytes, at + 2);
}

}  // namespace maskedkd
