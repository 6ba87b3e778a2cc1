// The two decoders that decode.cpp uses, and what they share. Internal to this module.
#pragma once

#include "maskedkd/codecs/image.hpp"

#include <cstdint>
#include <memory>
#include <span>

namespace maskedkd {

// The part of an image that is to be decoded: a box. shape: the size that the image must have.
struct Wanted {
  RecordShape shape;
  PixelBox box;
};

// The box to decode of an image whose header says [height, width]: the whole image where `wanted` is null. Throws Error
// where the size is not that of `wanted`, or the box lies outside of it.
PixelBox box_of(std::int64_t height, std::int64_t width, const Wanted* wanted);

RecordShape read_jpeg_shape(std::span<const std::uint8_t> bytes);
RecordShape read_png_shape(std::span<const std::uint8_t> bytes);
// Decode the pixels of the box only.
ImageRegion decode_jpeg(std::span<const std::uint8_t> bytes, const Wanted* wanted, OnDamage on_damage);
ImageRegion decode_png(std::span<const std::uint8_t> bytes, const Wanted* wanted, OnDamage on_damage);

// Uninitialised memory: what a header claims costs nothing until rows are decoded.
using RowBuffer = std::unique_ptr<std::uint8_t[]>;
inline RowBuffer make_row_buffer(std::size_t count) { return std::make_unique_for_overwrite<std::uint8_t[]>(count); }

// A region of the box with reserved memory, to which rows of pixels are appended.
inline ImageRegion empty_region(const PixelBox& box) {
  ImageRegion region{{box.height, box.width, {}}, box.top, box.left};
  region.part.pixels.reserve(static_cast<std::size_t>(box.height) * box.width * 3);
  return region;
}

}  // namespace maskedkd
