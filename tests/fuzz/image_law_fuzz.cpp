// Fuzzes the contract between the packer and the readers of a packed set. A file that the packer accepts by default
// (FileCheck::structure) must be decoded by training and evaluation in any box, and as a whole by the preview, with the
// same pixels; it is reported as damaged exactly if `verify --decode` refuses it. A file that the structure check
// refuses must not be decoded. See README.md.
#include "expect.hpp"
#include "image_mutator.hpp"
#include "maskedkd/codecs/file_check.hpp"
#include "maskedkd/codecs/image.hpp"
#include "maskedkd/io/digest.hpp"
#include "preprocess/record_maker.hpp"

#include <algorithm>
#include <optional>

namespace maskedkd {
namespace {

constexpr std::int64_t kMostPixels = 1 << 14;  // of an image that is decoded here, for speed

struct Tally {
  std::uint64_t num_accepted = 0, num_damaged = 0;
  ~Tally() {
    std::fprintf(stderr, "%llu files accepted, %llu of them with damaged compressed data\n",
                 static_cast<unsigned long long>(num_accepted), static_cast<unsigned long long>(num_damaged));
  }
} tally;

std::optional<Image> strictly_decoded(std::span<const std::uint8_t> bytes) {
  try {
    return decode_image(bytes);
  } catch (const Error&) {
    return std::nullopt;
  }
}

bool is_small(std::span<const std::uint8_t> bytes) {
  try {
    const RecordShape shape = read_image_shape(bytes);
    return std::int64_t{shape.height} * shape.width <= kMostPixels;
  } catch (const Error&) {
    return true;
  }
}

// PNGs that libpng would read, but must not be given: it accepts a chunk before the header, which PIL refuses, and
// allocates memory for a chunk that is longer than the file.
bool is_for_the_check_alone(std::span<const std::uint8_t> bytes) {
  constexpr std::size_t kKind = 12;  // after the signature and the first length
  if (!fuzz::is_png_file(bytes) || bytes.size() <= kKind) {
    return false;
  }
  const std::size_t rest = fuzz::chunks_of(bytes).back();
  return bytes[kKind] != 'I' || (rest + 4 <= bytes.size() && fuzz::number_at(bytes, rest) > bytes.size());
}

std::optional<Record> packed(std::span<const std::uint8_t> bytes) {
  try {
    check_image_file(bytes);
  } catch (const Error&) {
    fuzz::expect(is_for_the_check_alone(bytes) || !is_small(bytes) || !strictly_decoded(bytes),
                 "what the structure check refuses is not decoded");
    return std::nullopt;
  }
  if (!is_small(bytes)) {
    return std::nullopt;
  }
  try {
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

std::optional<fuzz::ImageMutator> mutator;

}  // namespace
}  // namespace maskedkd

// The last argument is the folder of the seeds, if there is one.
extern "C" int LLVMFuzzerInitialize(int* count, char*** arguments) {
  if (std::filesystem::is_directory((*arguments)[*count - 1])) {
    maskedkd::mutator.emplace((*arguments)[*count - 1]);
  }
  return 0;
}

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* bytes, std::size_t size, std::size_t most,
                                               unsigned chance) {
  const maskedkd::fuzz::Bytes mutated = maskedkd::mutator.value().mutated({bytes, bytes + size}, most, chance);
  std::copy(mutated.begin(), mutated.end(), bytes);
  return mutated.size();
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t count) {
  using namespace maskedkd;
  const std::optional<Record> record = packed({bytes, count});
  if (!record) {
    return 0;
  }
  const int height = record->shape.height, width = record->shape.width;
  const ImageRegion whole = decoded(*record, {0, 0, height, width});
  fuzz::expect(decode_record(*record, RecordEncoding::file, OnDamage::decode_as_pil).pixels == whole.part.pixels,
               "the preview shows the pixels of training");
  const std::optional<Image> strict = strictly_decoded(record->bytes);
  fuzz::expect(strict.has_value() == whole.damage.empty(), "verify --decode refuses what is damaged, no more");
  fuzz::expect(!strict || strict->pixels == whole.part.pixels, "a whole picture has the same pixels");
  ++tally.num_accepted;
  tally.num_damaged += strict ? 0 : 1;
  const std::uint32_t chance = crc32_of({bytes, count});
  const int top = static_cast<int>(chance & 0xFF) % height, left = static_cast<int>(chance >> 8 & 0xFF) % width;
  expect_cut_from(whole, *record,
                  {top, left, 1 + static_cast<int>(chance >> 16 & 0xFF) % (height - top),
                   1 + static_cast<int>(chance >> 24) % (width - left)});
  return 0;
}
