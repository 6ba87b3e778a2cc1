#include "preprocess/oddity.hpp"

#include <algorithm>
#include <cctype>
#include <cstring>
#include <string>

namespace maskedkd {
namespace {

using Bytes = std::span<const std::uint8_t>;

enum class Odd { gray, cmyk, sixteen_bit, alpha, rotated, misnamed };  // as kOddNames

std::uint32_t bit(bool is_so, Odd which) { return is_so ? 1U << static_cast<unsigned>(which) : 0U; }

std::uint32_t number(Bytes bytes, std::size_t at, std::size_t count, bool little_endian) {
  std::uint32_t value = 0;
  for (std::size_t i = 0; i < count; ++i) {
    value = value << 8 | bytes[at + (little_endian ? count - 1 - i : i)];
  }
  return value;
}

// The orientation (tag 0x0112) in the first directory of a TIFF header, as EXIF 2.3 lays it out; 1 where there is none.
std::uint32_t orientation(Bytes tiff) {
  constexpr std::size_t kHeader = 8, kEntry = 12;
  if (tiff.size() < kHeader) {
    return 1;
  }
  const bool little = tiff[0] == 'I';
  const std::size_t directory = number(tiff, 4, 4, little);
  if (directory > tiff.size() - 2) {
    return 1;
  }
  const std::size_t count = number(tiff, directory, 2, little);
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t entry = directory + 2 + i * kEntry;
    if (entry + kEntry > tiff.size()) {
      break;
    }
    if (number(tiff, entry, 2, little) == 0x0112) {
      return number(tiff, entry + 8, 2, little);
    }
  }
  return 1;
}

std::uint32_t odd_jpeg(Bytes bytes) {
  std::uint32_t odd = 0;
  // Each segment before the image: FF, marker, two bytes of length that count themselves.
  for (std::size_t at = 2; at + 4 <= bytes.size() && bytes[at] == 0xFF;) {
    const unsigned marker = bytes[at + 1];
    if (marker == 0xFF) {
      ++at;
      continue;
    }
    const std::size_t length = number(bytes, at + 2, 2, false);
    const std::size_t end = std::min(bytes.size(), at + 2 + length);
    const Bytes body = bytes.subspan(std::min(at + 4, end), end - std::min(at + 4, end));
    const bool frame = marker >= 0xC0 && marker <= 0xCF && marker != 0xC4 && marker != 0xC8 && marker != 0xCC;
    if (frame && body.size() > 5) {
      return odd | bit(body[5] == 1, Odd::gray) | bit(body[5] == 4, Odd::cmyk);
    }
    constexpr char kExif[] = {'E', 'x', 'i', 'f', 0, 0};
    if (marker == 0xE1 && body.size() > sizeof(kExif) && std::memcmp(body.data(), kExif, sizeof(kExif)) == 0) {
      const std::uint32_t turned = orientation(body.subspan(sizeof(kExif)));
      odd |= bit(turned >= 2 && turned <= 8, Odd::rotated);
    }
    at += 2 + length;
  }
  return odd;
}

std::uint32_t odd_png(Bytes bytes) {
  constexpr std::size_t kDepth = 24, kColour = 25;  // in the first chunk, IHDR
  const unsigned depth = bytes[kDepth], colour = bytes[kColour];
  return bit((colour & 2) == 0, Odd::gray) | bit(depth == 16, Odd::sixteen_bit) | bit((colour & 4) != 0, Odd::alpha);
}

}  // namespace

std::uint32_t oddities_of(Bytes file_bytes, std::string_view name) {
  std::string ending(name.substr(std::min(name.size(), name.rfind('.'))));
  std::transform(ending.begin(), ending.end(), ending.begin(),
                 [](unsigned char letter) { return static_cast<char>(std::tolower(letter)); });
  const bool is_png = file_bytes.size() > 25 && file_bytes[0] == 0x89;
  const bool called_png = ending == ".png";
  return (is_png ? odd_png(file_bytes) : odd_jpeg(file_bytes)) | bit(is_png != called_png, Odd::misnamed);
}

}  // namespace maskedkd
