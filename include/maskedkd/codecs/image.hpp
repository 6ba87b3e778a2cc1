// Decoded images and what reads and resizes them. RGB, 8 bits, as PIL gives them after convert("RGB").
#pragma once

#include "maskedkd/codecs/interpolation.hpp"
#include "maskedkd/shards/shard.hpp"

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
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

// A rectangle of a larger image, decoded alone: pixels[0] is the image's pixel (top, left).
struct ImageRegion {
  Image part;
  int top = 0;
  int left = 0;
  // Empty, or what the decoder said of the first damage that it decoded past: pixels may be gray or have wrong colours.
  std::string damage = {};
};

// Height, width and stored channels from the header of a JPEG or PNG, told apart by their first bytes. Throws Error on
// anything else, and where a side is 0 or height * width passes 2^28 pixels.
RecordShape read_image_shape(std::span<const std::uint8_t> file_bytes);

// What a decoder does with damage within the compressed data of a JPEG whose structure is whole. The packer passes such
// a file on where it does not decode it (FileCheck::structure), so training must be able to read it.
enum class OnDamage {
  refuse,        // Error
  decode_as_pil  // gray or wrong colours where data are lost, as PIL reads it
};

// JPEG (gray, YCbCr, RGB, CMYK, YCCK) and PNG (gray, palette, RGB, alpha dropped, 16 bits as PIL converts them). A
// truncated or corrupt file is an Error, not a gray half; also a JPEG cut within its data and closed with an end
// marker, which PIL loads and fills with gray.
Image decode_image(std::span<const std::uint8_t> file_bytes);

// A record of either encoding; raw gray becomes three equal channels. Throws Error where shape and bytes disagree.
Image decode_record(const Record& record, RecordEncoding encoding, OnDamage on_damage = OnDamage::refuse);
// The pixels of decode_record(record, encoding, OnDamage::decode_as_pil) to the bit, of `box` alone: no more is decoded
// than that takes. What the packer accepts, this decodes; damage is named in the region. Throws Error also where the
// file isn't of the record's height and width, or the box does not lie within them. Damage behind the last row that is
// needed may go unseen: the record's checksum has vouched for the bytes.
ImageRegion decode_record_region(const Record& record, RecordEncoding encoding, const PixelBox& box);

std::string to_string(Interpolation interpolation);

// PIL's image.crop(box).resize((full_width, full_height), interpolation), of which `window` alone is computed: two
// passes, antialiased, bicubic with a = -0.5, 8-bit fixed point. The region holds what pixels_needed()
// says of `box`, which is in pixels of the whole image. out: [window.height, window.width, 3].
void crop_and_resize(const ImageRegion& image, const PixelBox& box, int full_height, int full_width,
                     const PixelBox& window, Interpolation interpolation, std::span<std::uint8_t> out);

// What of `box` that window is computed from, in pixels of the whole image: a region of these will do where the window
// does not cover the whole.
PixelBox pixels_needed(const PixelBox& box, int full_height, int full_width, const PixelBox& window,
                       Interpolation interpolation);

struct ImageEdges {
  int height = 0;
  int width = 0;
};

// What resize_shorter_edge() makes of them. Throws Error where edge < 1.
ImageEdges resized_edges(ImageEdges whole, int edge);

// The whole image with its shorter edge resized to `edge` and the longer one in proportion, truncated: torchvision's
// Resize(edge). Never enlarges, as torchvision would: an image whose shorter edge is `edge` or less comes back as it
// is. Throws Error where edge < 1.
Image resize_shorter_edge(Image image, int edge, Interpolation interpolation);

// The bytes of PIL's image.save(file, "JPEG", quality=quality): chroma of half resolution, standard Huffman tables.
// quality: 1 .. 100. Throws Error, also on a side of more than 65500 pixels.
std::vector<std::uint8_t> encode_jpeg(const Image& image, int quality);

// Appears whole or not at all. Throws Error.
void write_png(const std::filesystem::path& path, const Image& image);

}  // namespace maskedkd
