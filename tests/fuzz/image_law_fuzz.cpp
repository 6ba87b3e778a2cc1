// libFuzzer on a law between the packer and training: an image file that the packer accepts in its default way
// (FileCheck::structure) is decoded in training, whole and in any box, with the same pixels. Damage within a JPEG's
// compressed data may change pixels, as it does in PIL, but ends nothing. A mutated PNG gets new checksums, else almost
// none would be accepted. How to run it, and what was run: README.md.
#include "expect.hpp"
#include "maskedkd/images/file_check.hpp"
#include "maskedkd/images/image.hpp"
#include "maskedkd/io/digest.hpp"
#include "preprocess/record_maker.hpp"

#include <zlib.h>

#include <algorithm>
#include <optional>

namespace maskedkd {

std::uint32_t crc32_of(std::span<const std::uint8_t> bytes) noexcept {
  return static_cast<std::uint32_t>(::crc32(0, bytes.data(), static_cast<uInt>(bytes.size())));
}

namespace {

constexpr std::int64_t kMostPixels = 1 << 14;  // of an image that is decoded here, for speed

std::optional<Record> packed(std::span<const std::uint8_t> bytes) {
  try {
    const RecordShape shape = check_image_file(bytes).shape;
    if (std::int64_t{shape.height} * shape.width > kMostPixels) {
      return std::nullopt;
    }
    return make_record({bytes.begin(), bytes.end()}, "a.jpg", {}).record;
  } catch (const Error& error) {
    const std::string message = error.what();
    fuzz::expect(message.size() < 1000 && message.find('\n') == std::string::npos, "a refusal is one line");
    return std::nullopt;
  }
}

ImageRegion decoded(const Record& record, const PixelBox& box) {
  try {
    ImageRegion region = decode_record_region(record, RecordEncoding::file, box);
    fuzz::expect(region.part.pixels.size() == std::size_t{3} * region.part.height * region.part.width, "all pixels");
    return region;
  } catch (const Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    fuzz::expect(false, "what the packer accepts is decoded in training");
    return {};
  }
}

void expect_cut_from(const ImageRegion& whole, const Record& record, const PixelBox& box) {
  const ImageRegion region = decoded(record, box);
  fuzz::expect(region.top <= box.top && region.left <= box.left, "the box is in its region");
  for (int y = box.top; y < box.top + box.height; ++y) {
    const auto row = [&](const ImageRegion& from) {
      return from.part.pixels.data() +
             (std::size_t(y - from.top) * from.part.width + std::size_t(box.left - from.left)) * 3;
    };
    fuzz::expect(std::equal(row(region), row(region) + std::size_t{3} * box.width, row(whole)),
                 "a box has the pixels of the whole picture");
  }
}

void mend_checksums(std::uint8_t* bytes, std::size_t size) {
  constexpr std::size_t kSignature = 8, kFrame = 12;
  const auto number = [&](std::size_t at) {
    return std::size_t{bytes[at]} << 24 | std::size_t{bytes[at + 1]} << 16 | std::size_t{bytes[at + 2]} << 8 |
           bytes[at + 3];
  };
  for (std::size_t at = kSignature; size >= kFrame && at <= size - kFrame;) {
    const std::size_t length = number(at);
    if (length > size - at - kFrame) {
      return;
    }
    const std::uint32_t sum = crc32_of({bytes + at + 4, length + 4});
    for (int i = 0; i < 4; ++i) {
      bytes[at + 8 + length + i] = static_cast<std::uint8_t>(sum >> (24 - 8 * i));
    }
    at += kFrame + length;
  }
}

}  // namespace
}  // namespace maskedkd

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* bytes, std::size_t size, std::size_t most);

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* bytes, std::size_t size, std::size_t most, unsigned seed) {
  const std::size_t length = LLVMFuzzerMutate(bytes, size, most);
  if (length > 0 && bytes[0] == 0x89 && seed % 8 != 0) {
    maskedkd::mend_checksums(bytes, length);
  }
  return length;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t count) {
  using namespace maskedkd;
  const std::optional<Record> record = packed({bytes, count});
  if (!record) {
    return 0;
  }
  const int height = record->shape.height, width = record->shape.width;
  const ImageRegion whole = decoded(*record, {0, 0, height, width});
  const std::uint32_t chance = crc32_of({bytes, count});
  const int top = static_cast<int>(chance & 0xFF) % height, left = static_cast<int>(chance >> 8 & 0xFF) % width;
  expect_cut_from(whole, *record,
                  {top, left, 1 + static_cast<int>(chance >> 16 & 0xFF) % (height - top),
                   1 + static_cast<int>(chance >> 24) % (width - left)});
  return 0;
}
