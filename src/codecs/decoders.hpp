// The two decoders behind decode.cpp, and what they share.
#pragma once

#include "maskedkd/codecs/image.hpp"

#include <cstdint>
#include <memory>
#include <span>

namespace maskedkd {

// What is wanted of a file: all of it, or a box of an image that is said to be [height, width].
struct Wanted {
  RecordShape shape;
  PixelBox box;
};

// The box that is wanted of a file whose header says [height, width]; all of it where `wanted` is null. Throws Error
// where the size isn't the one that was said, or the box doesn't lie within it.
PixelBox box_of(std::int64_t height, std::int64_t width, const Wanted* wanted);

RecordShape read_jpeg_shape(std::span<const std::uint8_t> bytes);
RecordShape read_png_shape(std::span<const std::uint8_t> bytes);
// The box's pixels, no more.
ImageRegion decode_jpeg(std::span<const std::uint8_t> bytes, const Wanted* wanted, OnDamage on_damage);
ImageRegion decode_png(std::span<const std::uint8_t> bytes, const Wanted* wanted, OnDamage on_damage);

// Memory that isn't filled first: a header's claim costs nothing until rows really come.
using RowBuffer = std::unique_ptr<std::uint8_t[]>;
inline RowBuffer make_row_buffer(std::size_t count) { return std::make_unique_for_overwrite<std::uint8_t[]>(count); }

// An empty region of the box, with room for its pixels: rows are appended.
inline ImageRegion empty_region(const PixelBox& box) {
  ImageRegion region{{box.height, box.width, {}}, box.top, box.left};
  region.part.pixels.reserve(static_cast<std::size_t>(box.height) * box.width * 3);
  return region;
}

}  // namespace maskedkd
