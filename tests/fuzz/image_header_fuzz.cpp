// Fuzzes the structure check of image files: an input is the file. It must be refused by an Error of one line, or have
// a size that can be decoded; if the check is certain, the file must be refused when it is cut off within the last
// marker. The CRC-32 of chunks, which no fuzzer can find, is 0 here. See README.md.
#include "expect.hpp"
#include "maskedkd/codecs/file_check.hpp"
#include "maskedkd/io/digest.hpp"

#include <vector>

namespace maskedkd {

std::uint32_t crc32_of(std::span<const std::uint8_t> /*bytes*/) noexcept { return 0; }

namespace {

void check(const ImageFileFacts& facts) {
  const RecordShape& shape = facts.shape;
  fuzz::expect(shape.height >= 1 && shape.width >= 1, "an image has a size");
  fuzz::expect(std::int64_t{shape.height} * shape.width <= std::int64_t{1} << 28, "an image can be held");
  fuzz::expect(shape.channels == 1 || shape.channels == 3, "gray or colours");
  fuzz::expect(facts.orientation >= 1 && facts.orientation <= 8, "an orientation is one");
  const bool is_png = facts.format == ImageFileFacts::Format::png;
  fuzz::expect(!(is_png && (facts.progressive || facts.four_inks)) && (is_png || !facts.interlaced), "of one format");
  fuzz::expect(!facts.certain || (is_png ? facts.bits <= 16 : facts.bits == 8), "usual samples");
}

bool same(const ImageFileFacts& a, const ImageFileFacts& b) {
  return a.format == b.format && a.shape == b.shape && a.bits == b.bits && a.progressive == b.progressive &&
         a.interlaced == b.interlaced && a.four_inks == b.four_inks && a.orientation == b.orientation &&
         a.certain == b.certain;
}

bool is_accepted(std::span<const std::uint8_t> bytes) {
  try {
    check_image_file(bytes);
    return true;
  } catch (const Error&) {
    return false;
  }
}

}  // namespace
}  // namespace maskedkd

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t count) {
  using namespace maskedkd;
  fuzz::refused_in_one_line([&] {
    const ImageFileFacts facts = check_image_file({bytes, count});
    check(facts);
    // Bytes after the end change nothing, and the shortest accepted beginning is a complete file.
    std::vector<std::uint8_t> longer(bytes, bytes + count);
    longer.insert(longer.end(), {0xFF, 0xD8, 0xFF, 0xC0});
    fuzz::expect(same(check_image_file(longer), facts), "what follows the end changes nothing");
    std::size_t shortest = 0;
    for (std::size_t least = 0, most = count; least < most; shortest = most) {
      const std::size_t middle = least + (most - least) / 2;
      const bool accepted = is_accepted({bytes, middle});
      (accepted ? most : least) = accepted ? middle : middle + 1;
    }
    fuzz::expect(same(check_image_file({bytes, shortest}), facts), "a file is whole at its end and no sooner");
    fuzz::expect(!is_accepted({bytes, shortest - 1}), "a file that is cut off is refused");
  });
  return 0;
}
