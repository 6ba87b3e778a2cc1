#include "maskedkd/codecs/file_check.hpp"

#include "file_parts.hpp"

#include <algorithm>

namespace maskedkd {

bool is_jpeg(std::span<const std::uint8_t> bytes) {
  return bytes.size() > 3 && bytes[0] == 0xFF && bytes[1] == 0xD8 && bytes[2] == 0xFF;
}

bool is_png(std::span<const std::uint8_t> bytes) {
  constexpr std::uint8_t kSignature[] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1A, '\n'};
  return bytes.size() > std::size(kSignature) &&
         std::equal(std::begin(kSignature), std::end(kSignature), bytes.begin());
}

void refuse_size(std::int64_t height, std::int64_t width) {
  if (!is_image_size(height, width)) {
    throw usage_error(fmt::format("images of {} x {} pixels are not read", width, height));
  }
}

// TIFF: byte order, 42, offset of the first directory; entries of tag, type, count, value.
int exif_orientation(std::span<const std::uint8_t> tiff) {
  constexpr std::size_t kEntryBytes = 12;
  constexpr std::uint32_t kOrientation = 0x0112, kShort = 3;
  if (tiff.size() < 8 || tiff[0] != tiff[1] || (tiff[0] != 'I' && tiff[0] != 'M')) {
    return 1;
  }
  const bool big = tiff[0] == 'M';
  const auto number = [&](std::size_t at, std::size_t length) {
    std::uint32_t value = 0;
    for (std::size_t i = 0; i < length; ++i) {
      value |= std::uint32_t{tiff[at + i]} << (8 * (big ? length - 1 - i : i));
    }
    return value;
  };
  const std::size_t directory = number(4, 4);
  if (number(2, 2) != 42 || directory > tiff.size() - 2) {
    return 1;
  }
  const std::size_t most_entries = (tiff.size() - directory - 2) / kEntryBytes;
  const std::size_t num_entries = std::min<std::size_t>(number(directory, 2), most_entries);
  for (std::size_t i = 0; i < num_entries; ++i) {
    const std::size_t entry = directory + 2 + i * kEntryBytes;
    if (number(entry, 2) == kOrientation) {
      const std::uint32_t value = number(entry + 8, 2);
      return number(entry + 2, 2) == kShort && value >= 1 && value <= 8 ? static_cast<int>(value) : 1;
    }
  }
  return 1;
}

ImageFileFacts check_image_file(std::span<const std::uint8_t> file_bytes) {
  if (is_jpeg(file_bytes)) {
    return check_jpeg(file_bytes);
  }
  if (is_png(file_bytes)) {
    return check_png(file_bytes);
  }
  refuse_format(file_bytes);
}

}  // namespace maskedkd
