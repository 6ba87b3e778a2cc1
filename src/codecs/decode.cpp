#include "decoders.hpp"
#include "file_parts.hpp"
#include "maskedkd/base/error.hpp"

namespace maskedkd {
namespace {

ImageRegion decode_file(std::span<const std::uint8_t> bytes, const Wanted* wanted, OnDamage on_damage) {
  if (is_jpeg(bytes)) {
    return decode_jpeg(bytes, wanted, on_damage);
  }
  if (is_png(bytes)) {
    return decode_png(bytes, wanted, on_damage);
  }
  refuse_format(bytes);
}

ImageRegion copy_raw(const Record& record, const Wanted* wanted) {
  const RecordShape& shape = record.shape;
  const PixelBox box = box_of(shape.height, shape.width, wanted);
  const auto channels = static_cast<std::size_t>(shape.channels);
  if ((shape.channels != 1 && shape.channels != 3) ||
      record.bytes.size() != static_cast<std::size_t>(shape.height) * shape.width * channels) {
    throw Error(fmt::format("{} bytes are not an image of {} x {} x {}", record.bytes.size(), shape.height, shape.width,
                            shape.channels));
  }
  ImageRegion region = empty_region(box);
  std::vector<std::uint8_t>& pixels = region.part.pixels;
  for (int y = box.top; y < box.top + box.height; ++y) {
    const std::uint8_t* row = record.bytes.data() + (static_cast<std::size_t>(y) * shape.width + box.left) * channels;
    if (channels == 3) {
      pixels.insert(pixels.end(), row, row + std::size_t{3} * box.width);
      continue;
    }
    for (int x = 0; x < box.width; ++x) {
      pixels.insert(pixels.end(), 3, row[x]);
    }
  }
  return region;
}

}  // namespace

PixelBox box_of(std::int64_t height, std::int64_t width, const Wanted* wanted) {
  refuse_size(height, width);
  if (wanted == nullptr) {
    return {0, 0, static_cast<int>(height), static_cast<int>(width)};
  }
  if (height != wanted->shape.height || width != wanted->shape.width) {
    throw Error(fmt::format("the image has {} x {} pixels, but its record says {} x {}", width, height,
                            wanted->shape.width, wanted->shape.height));
  }
  const PixelBox& box = wanted->box;
  if (box.top < 0 || box.left < 0 || box.height < 1 || box.width < 1 || box.height > height - box.top ||
      box.width > width - box.left) {
    throw Error(fmt::format("a box of {} x {} pixels at ({}, {}) lies outside an image of {} x {}", box.width,
                            box.height, box.left, box.top, width, height));
  }
  return box;
}

RecordShape read_image_shape(std::span<const std::uint8_t> file_bytes) {
  if (is_jpeg(file_bytes)) {
    return read_jpeg_shape(file_bytes);
  }
  if (is_png(file_bytes)) {
    return read_png_shape(file_bytes);
  }
  refuse_format(file_bytes);
}

Image decode_image(std::span<const std::uint8_t> file_bytes) {
  return decode_file(file_bytes, nullptr, OnDamage::refuse).part;
}

Image decode_record(const Record& record, RecordEncoding encoding, OnDamage on_damage) {
  return (encoding == RecordEncoding::file ? decode_file(record.bytes, nullptr, on_damage) : copy_raw(record, nullptr))
      .part;
}

ImageRegion decode_record_region(const Record& record, RecordEncoding encoding, const PixelBox& box) {
  const Wanted wanted{record.shape, box};
  return encoding == RecordEncoding::file ? decode_file(record.bytes, &wanted, OnDamage::decode_as_pil)
                                          : copy_raw(record, &wanted);
}

}  // namespace maskedkd
