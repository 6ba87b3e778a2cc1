#include "preprocess/record_maker.hpp"

#include "maskedkd/images/image.hpp"
#include "preprocess/oddity.hpp"

#include <cmath>
#include <utility>

namespace maskedkd {
namespace {

Record record_of(std::vector<std::uint8_t> file_bytes, const RecordOptions& options) {
  Record record;
  record.shape = read_image_shape(file_bytes);
  Image image = decode_image(file_bytes);
  if (options.passes_through()) {
    record.bytes = std::move(file_bytes);
    return record;
  }
  record.shape = {image.height, image.width, 3};
  record.bytes = std::move(image.pixels);
  return record;
}

}  // namespace

std::uint64_t RecordOptions::expected_bytes(std::uint64_t file_bytes) const {
  constexpr std::uint64_t kUnpacked = 5;
  if (passes_through()) {
    return file_bytes;
  }
  if (resize == 0) {
    return kUnpacked * file_bytes;
  }
  const double pixels = resize * (4.0 / 3.0) * resize;
  // Of libjpeg's quality scale: the quantisation steps fall linearly with 100 - quality above 50.
  const double bytes_a_pixel = quality > 50 ? 0.15 + 0.3 * std::pow((quality - 50) / 45.0, 2) : 0.15;
  return static_cast<std::uint64_t>(decoded ? 3 * pixels : pixels * bytes_a_pixel);
}

std::string RecordOptions::identity() const {
  return fmt::format("{} {} {}", to_string(encoding()), resize, resize > 0 && !decoded ? quality : 0);
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
    MadeRecord made;
    made.odd = 0;
    const std::uint32_t odd = oddities_of(file_bytes, name);
    made.record = record_of(std::move(file_bytes), options);
    made.odd = odd;
    return made;
  } catch (const Error& error) {
    throw BrokenImage(error.what(), error.hint());
  }
}

}  // namespace maskedkd
