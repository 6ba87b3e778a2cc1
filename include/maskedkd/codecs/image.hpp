// Decodes, resizes and encodes images. A decoded image is 8-bit RGB, as PIL's convert("RGB") gives it. A new file
// format needs a check and a decoder (src/codecs/decoders.hpp, file_parts.hpp), calls of them in decode.cpp and
// file_check.cpp, a value of ImageFileFacts::Format, and its extension in the packer (folder_walk.cpp,
// record_maker.cpp, extract.cpp).
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

// A rectangle of pixels: rows top .. top + height - 1, columns left .. left + width - 1.
struct PixelBox {
  int top = 0;
  int left = 0;
  int height = 0;
  int width = 0;
  bool operator==(const PixelBox&) const = default;
};

// A decoded rectangle of a larger image: its first pixel is the image's pixel (top, left).
struct ImageRegion {
  Image part;
  int top = 0;
  int left = 0;
  // The decoder's message about the first damage that it ignored: pixels may be gray or have wrong colours. Else empty.
  std::string damage = {};
};

// Height, width and stored channels from the header of a JPEG or PNG, which are distinguished by their first bytes.
// Throws Error for other files, and where is_image_size() does not hold.
RecordShape read_image_shape(std::span<const std::uint8_t> file_bytes);

// What to do about damage within the compressed data of a JPEG whose structure is intact. The packer accepts such a
// file where it does not decode it (FileCheck::structure), so that training must be able to read it.
enum class OnDamage {
  refuse,        // throw Error
  decode_as_pil  // give gray or wrong colours where data are lost, as PIL does
};

// JPEG (gray, YCbCr, RGB, CMYK, YCCK) and PNG (gray, palette, RGB; alpha is dropped, 16 bits are converted as in PIL).
// Throws Error for a truncated or corrupt file, also for a JPEG that was cut within its data and closed with an end
// marker, which PIL fills with gray.
Image decode_image(std::span<const std::uint8_t> file_bytes);

// Decodes a record of either encoding; raw gray becomes three equal channels. Throws Error where the shape of a raw
// record and its number of bytes disagree, and as decode_image().
Image decode_record(const Record& record, RecordEncoding encoding, OnDamage on_damage = OnDamage::refuse);
// Exactly the pixels of decode_record(record, encoding, OnDamage::decode_as_pil) in `box`, and decodes no more than
// they need. Decodes every file that the packer accepts; the region describes damage. Throws Error also where the file
// does not have the record's height and width, or the box lies outside of them. Damage after the last row of the box
// may go unnoticed: the bytes have been verified by the record's checksum.
ImageRegion decode_record_region(const Record& record, RecordEncoding encoding, const PixelBox& box);

std::string to_string(Interpolation interpolation);

// The part `window` of PIL's image.crop(box).resize((full_width, full_height), interpolation): two passes, antialiased,
// bicubic with a = -0.5, 8-bit fixed point. `box` is in pixels of the whole image; the region must contain the pixels
// that pixels_needed() returns. out: [window.height, window.width, 3].
void crop_and_resize(const ImageRegion& image, const PixelBox& box, int full_height, int full_width,
                     const PixelBox& window, Interpolation interpolation, std::span<std::uint8_t> out);

// The part of `box` from which the window is computed, in pixels of the whole image: crop_and_resize() needs a region
// of these pixels only.
PixelBox pixels_needed(const PixelBox& box, int full_height, int full_width, const PixelBox& window,
                       Interpolation interpolation);

struct ImageEdges {
  int height = 0;
  int width = 0;
};

// The size of the result of resize_shorter_edge(). Throws Error where edge < 1.
ImageEdges resized_edges(ImageEdges whole, int edge);

// The whole image with its shorter edge resized to `edge` and the longer one in proportion, rounded down: torchvision's
// Resize(edge), except that an image whose shorter edge is not longer than `edge` is returned unchanged instead of
// enlarged. Throws Error where edge < 1.
Image resize_shorter_edge(Image image, int edge, Interpolation interpolation);

// The bytes of PIL's image.save(file, "JPEG", quality=quality): chroma of half resolution, standard Huffman tables.
// quality: 1 .. 100. Throws Error, also on a side of more than 65500 pixels.
std::vector<std::uint8_t> encode_jpeg(const Image& image, int quality);

// Writes the file atomically. Throws Error.
void write_png(const std::filesystem::path& path, const Image& image);

}  // namespace maskedkd
