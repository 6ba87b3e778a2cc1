// A chunk of a PNG file has a length, four letters, data, and the CRC-32 of letters and data.
#include "file_parts.hpp"
#include "maskedkd/io/digest.hpp"

namespace maskedkd {
namespace {

constexpr std::size_t kSignatureBytes = 8;
constexpr std::size_t kFrameBytes = 12;  // of a chunk, without its data
constexpr std::uint32_t kLargestLength = 0x7FFFFFFF;
constexpr std::size_t kLargestUsualChunk = std::size_t{1} << 20;  // libpng limits chunks other than IDAT
constexpr std::uint32_t kLargestUsualSide = 1000000;              // the limit of libpng

[[noreturn]] void refuse(const char* why) { throw usage_error(fmt::format("not a valid PNG file: {}", why)); }

constexpr std::uint32_t kind_of(const char (&letters)[5]) {
  std::uint32_t kind = 0;
  for (int i = 0; i < 4; ++i) {
    kind = kind << 8 | static_cast<std::uint8_t>(letters[i]);
  }
  return kind;
}
constexpr std::uint32_t kHeader = kind_of("IHDR"), kPalette = kind_of("PLTE"), kPixels = kind_of("IDAT"),
                        kEnd = kind_of("IEND"), kExif = kind_of("eXIf");

bool is_known_depth(int colour, int bits) {
  switch (colour) {
    case 0:
      return bits == 1 || bits == 2 || bits == 4 || bits == 8 || bits == 16;
    case 3:
      return bits == 1 || bits == 2 || bits == 4 || bits == 8;
    case 2:
    case 4:
    case 6:
      return bits == 8 || bits == 16;
    default:
      return false;
  }
}

bool has_letters_alone(std::uint32_t kind) {
  for (int shift = 0; shift < 32; shift += 8) {
    const auto letter = static_cast<std::uint8_t>((kind >> shift & 0xFF) | 0x20);
    if (letter < 'a' || letter > 'z') {
      return false;
    }
  }
  return true;
}

ImageFileFacts read_header(std::span<const std::uint8_t> data) {
  if (data.size() != 13) {
    refuse("its header is damaged");
  }
  const std::uint32_t width = big32(data, 0), height = big32(data, 4);
  const int bits = data[8], colour = data[9];
  if (!is_known_depth(colour, bits) || data[10] != 0 || data[11] != 0 || data[12] > 1) {
    refuse("its header is damaged");
  }
  refuse_size(height, width);
  ImageFileFacts facts;
  facts.format = ImageFileFacts::Format::png;
  facts.shape = {static_cast<std::int32_t>(height), static_cast<std::int32_t>(width), (colour & 2) == 0 ? 1 : 3};
  facts.bits = bits;
  facts.interlaced = data[12] == 1;
  facts.certain = height <= kLargestUsualSide && width <= kLargestUsualSide;
  return facts;
}

}  // namespace

ImageFileFacts check_png(std::span<const std::uint8_t> bytes) {
  ImageFileFacts facts;
  bool has_header = false, has_palette = false, needs_palette = false;
  std::uint32_t previous = 0;
  bool has_pixels = false;
  for (std::size_t at = kSignatureBytes;;) {
    if (bytes.size() - at < kFrameBytes) {
      refuse("it ends without an IEND chunk");
    }
    const std::uint32_t length = big32(bytes, at), kind = big32(bytes, at + 4);
    if (length > kLargestLength || length > bytes.size() - at - kFrameBytes) {
      refuse("it ends within a chunk");
    }
    const auto data = bytes.subspan(at + 8, length);
    const bool good = crc32_of(bytes.subspan(at + 4, std::size_t{length} + 4)) == big32(bytes, at + 8 + length);
    if (!has_header) {
      if (kind != kHeader || !good) {
        refuse("its header is damaged");
      }
      facts = read_header(data);
      needs_palette = bytes[at + 8 + 9] == 3;
      has_header = true;
    } else {
      if (!good && !has_pixels && kind != kPixels) {
        refuse("the checksum of a chunk before its pixels is wrong");
      }
      facts.certain = facts.certain && good && has_letters_alone(kind) && kind != kHeader;
      if (kind == kPalette) {
        facts.certain = facts.certain && !has_palette && !has_pixels && length % 3 == 0 && length > 0 && length <= 768;
        has_palette = true;
      } else if (kind == kPixels) {
        facts.certain = facts.certain && (!has_pixels || previous == kPixels) && (has_palette || !needs_palette);
        has_pixels = true;
      } else if (kind == kEnd) {
        break;
      } else {
        const bool is_critical = (kind >> 24 & 0x20) == 0;  // and unknown
        facts.certain = facts.certain && !is_critical && length <= kLargestUsualChunk;
        if (kind == kExif) {
          facts.orientation = exif_orientation(data);
        }
      }
    }
    previous = kind;
    at += kFrameBytes + length;
  }
  if (!has_pixels) {
    refuse("it contains no image");
  }
  return facts;
}

}  // namespace maskedkd
