// Decoded images and what reads and resizes them. RGB, 8 bits, as PIL gives them after convert("RGB").
#pragma once

#include "maskedkd/data/shard.hpp"

#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

namespace maskedkd {

struct Image {
  int height = 0;
  int width = 0;
  std::vector<std::uint8_t> pixels;  // [height, width, 3]
};

// A rectangle of whole pixels: rows top .. top + height, columns left .. left + width.
struct PixelBox {
  int top = 0;
  int left = 0;
  int height = 0;
  int width = 0;
  bool operator==(const PixelBox&) const = default;
};

// Height, width and stored channels from the header of a JPEG or PNG, told apart by their first bytes. Throws Error on
// anything else, and where a side is 0 or height * width passes 2^28 pixels.
RecordShape read_image_shape(std::span<const std::uint8_t> file_bytes);

// JPEG (gray, YCbCr, RGB, CMYK, YCCK) and PNG (gray, palette, RGB, alpha dropped, 16 bits as PIL converts them). A
// truncated or corrupt file is an Error, not a gray half.
Image decode_image(std::span<const std::uint8_t> file_bytes);

// A record of either encoding; raw gray becomes three equal channels. Throws Error where shape and bytes disagree.
Image decode_record(const Record& record, RecordEncoding encoding);

// PIL's image.crop(box).resize((width, height), BICUBIC): two passes, antialiased, a = -0.5, 8-bit fixed point.
// The box lies inside the image.
Image crop_and_resize_bicubic(const Image& image, const PixelBox& box, int height, int width);
// `window` of that result alone: the rest of it, which a very long image makes huge, is never computed.
Image crop_resize_and_crop_bicubic(const Image& image, const PixelBox& box, int full_height, int full_width,
                                   const PixelBox& window);

// Appears whole or not at all. Throws Error.
void write_png(const std::filesystem::path& path, const Image& image);

}  // namespace maskedkd
