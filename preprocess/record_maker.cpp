#include "preprocess/record_maker.hpp"

#include "maskedkd/codecs/file_check.hpp"
#include "maskedkd/codecs/image.hpp"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <utility>

namespace maskedkd {
namespace {

// Bits in the order of kOddNames.
std::uint32_t oddities_of(const ImageFileFacts& facts, std::string_view name) {
  std::string ending(name.substr(std::min(name.size(), name.rfind('.'))));
  std::transform(ending.begin(), ending.end(), ending.begin(),
                 [](unsigned char letter) { return static_cast<char>(std::tolower(letter)); });
  const bool is_png = facts.format == ImageFileFacts::Format::png;
  std::uint32_t odd = 0, bit = 1;
  for (const bool is_so : {facts.shape.channels == 1, facts.four_inks, facts.bits > 8, facts.orientation != 1,
                           is_png != (ending == ".png")}) {
    odd |= is_so ? bit : 0;
    bit <<= 1;
  }
  return odd;
}

Record record_of(std::vector<std::uint8_t> file_bytes, const ImageFileFacts& facts, const RecordOptions& options) {
  Record record;
  if (options.passes_through()) {
    record.shape = facts.certain ? facts.shape : read_image_shape(file_bytes);
    // The checksums of a PNG don't prove that all of its pixels are present.
    const bool is_png = facts.format == ImageFileFacts::Format::png;
    if (!facts.certain || is_png || options.check == FileCheck::decode) {
      decode_image(file_bytes);
    }
    record.bytes = std::move(file_bytes);
    return record;
  }
  Image image = decode_image(file_bytes);
  if (options.resize > 0) {
    image = resize_shorter_edge(std::move(image), options.resize, Interpolation::bicubic);
  }
  record.shape = {image.height, image.width, 3};
  record.bytes = options.decoded ? std::move(image.pixels) : encode_jpeg(image, options.quality);
  return record;
}

}  // namespace

std::uint64_t RecordOptions::expected_bytes(std::uint64_t file_bytes) const {
  if (passes_through()) {
    return file_bytes;
  }
  const double pixels = resize * (4.0 / 3.0) * resize;
  // On libjpeg's quality scale, above 50 the quantisation steps are proportional to 100 - quality.
  const double bytes_a_pixel = quality > 50 ? 0.15 + 0.3 * std::pow((quality - 50) / 45.0, 2) : 0.15;
  return static_cast<std::uint64_t>(pixels * bytes_a_pixel);
}

std::uint64_t RecordOptions::decoded_bytes(const RecordShape& shape) const {
  ImageEdges edges{shape.height, shape.width};
  if (resize > 0) {
    edges = resized_edges(edges, resize);
  }
  return std::uint64_t{3} * static_cast<std::uint64_t>(edges.height) * static_cast<std::uint64_t>(edges.width);
}

std::string RecordOptions::identity() const {
  return fmt::format("{} {} {}", name_of(kRecordEncodings, encoding()), resize, resize > 0 && !decoded ? quality : 0);
}

void RecordOptions::validate() const {
  if (resize < 0 || resize > 8192) {
    throw usage_error(fmt::format("--resize {} is outside 0..8192", resize));
  }
  if (quality < 1 || quality > 100) {
    throw usage_error(fmt::format("--quality {} is outside 1..100", quality));
  }
}

MadeRecord make_record(std::vector<std::uint8_t> file_bytes, std::string_view name, const RecordOptions& options) {
  try {
    const ImageFileFacts facts = check_image_file(file_bytes);
    MadeRecord made;
    made.odd = oddities_of(facts, name);
    made.record = record_of(std::move(file_bytes), facts, options);
    return made;
  } catch (const Error& error) {
    throw BrokenImage(error.what(), error.hint());
  }
}

}  // namespace maskedkd
