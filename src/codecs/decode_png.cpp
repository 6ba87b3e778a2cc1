#include "decoders.hpp"
#include "file_parts.hpp"
#include "maskedkd/base/error.hpp"

#include <png.h>

#include <csetjmp>
#include <cstring>
#include <string>

namespace maskedkd {
namespace {

// Errors of libpng, which include damage, jump to png_jmpbuf(); warnings (unusual colour profiles and the like) are
// ignored.
struct PngDecoder {
  png_structp png = nullptr;
  png_infop info = nullptr;
  std::span<const std::uint8_t> rest;
  std::string message;

  explicit PngDecoder(std::span<const std::uint8_t> bytes) : rest(bytes) {
    png = png_create_read_struct(
        PNG_LIBPNG_VER_STRING, this,
        [](png_structp self, png_const_charp text) {
          static_cast<PngDecoder*>(png_get_error_ptr(self))->message = text;
          std::longjmp(png_jmpbuf(self), 1);
        },
        [](png_structp, png_const_charp) {});
    info = png != nullptr ? png_create_info_struct(png) : nullptr;
    if (info == nullptr) {
      png_destroy_read_struct(&png, &info, nullptr);
      throw std::bad_alloc();
    }
    png_set_read_fn(png, this, [](png_structp self, png_bytep out, std::size_t length) {
      auto* decoder = static_cast<PngDecoder*>(png_get_io_ptr(self));
      if (length > decoder->rest.size()) {
        png_error(self, "it ends too early");
      }
      std::memcpy(out, decoder->rest.data(), length);
      decoder->rest = decoder->rest.subspan(length);
    });
  }
  PngDecoder(const PngDecoder&) = delete;
  PngDecoder& operator=(const PngDecoder&) = delete;
  ~PngDecoder() { png_destroy_read_struct(&png, &info, nullptr); }

  [[noreturn]] void refuse() const { throw Error(fmt::format("not a valid PNG file: {}", message)); }

  void read_header() {
    if (setjmp(png_jmpbuf(png)) != 0) {
      refuse();
    }
    png_read_info(png, info);
  }

  bool has_wide_gray() const {
    return png_get_bit_depth(png, info) == 16 && png_get_color_type(png, info) == PNG_COLOR_TYPE_GRAY;
  }
  bool is_interlaced() const { return png_get_interlace_type(png, info) != PNG_INTERLACE_NONE; }

  // Sets up rows of 8-bit RGB: alpha is dropped, 16-bit colours keep their upper byte, 16-bit gray is left unchanged.
  void start() {
    if (setjmp(png_jmpbuf(png)) != 0) {
      refuse();
    }
    png_set_interlace_handling(png);
    const int colour = png_get_color_type(png, info);
    if (colour == PNG_COLOR_TYPE_PALETTE) {
      png_set_palette_to_rgb(png);
    }
    if (colour == PNG_COLOR_TYPE_GRAY && png_get_bit_depth(png, info) < 8) {
      png_set_expand_gray_1_2_4_to_8(png);
    }
    png_set_strip_alpha(png);
    if (!has_wide_gray()) {
      png_set_strip_16(png);
      if (colour == PNG_COLOR_TYPE_GRAY || colour == PNG_COLOR_TYPE_GRAY_ALPHA) {
        png_set_gray_to_rgb(png);
      }
    }
    png_read_update_info(png, info);
  }

  void read_row(png_bytep row) {
    if (setjmp(png_jmpbuf(png)) != 0) {
      refuse();
    }
    png_read_row(png, row, nullptr);
  }

  void read_rows(std::vector<png_bytep>& rows) {
    if (setjmp(png_jmpbuf(png)) != 0) {
      refuse();
    }
    png_read_image(png, rows.data());
  }

  void finish() {
    if (setjmp(png_jmpbuf(png)) != 0) {
      refuse();
    }
    png_read_end(png, nullptr);
  }
};

// 16-bit gray is clipped at 255, as PIL does.
void append(std::vector<std::uint8_t>& pixels, const std::uint8_t* row, const PixelBox& box, bool wide_gray) {
  if (!wide_gray) {
    const std::uint8_t* begin = row + std::size_t{3} * box.left;
    pixels.insert(pixels.end(), begin, begin + std::size_t{3} * box.width);
    return;
  }
  for (int x = box.left; x < box.left + box.width; ++x) {
    const std::uint8_t* level = row + std::size_t{2} * x;
    pixels.insert(pixels.end(), 3, level[0] != 0 ? 255 : level[1]);
  }
}

}  // namespace

RecordShape read_png_shape(std::span<const std::uint8_t> bytes) {
  PngDecoder decoder(bytes);
  decoder.read_header();
  const auto height = png_get_image_height(decoder.png, decoder.info);
  const auto width = png_get_image_width(decoder.png, decoder.info);
  refuse_size(height, width);
  const bool gray = (png_get_color_type(decoder.png, decoder.info) & PNG_COLOR_MASK_COLOR) == 0;
  return {static_cast<std::int32_t>(height), static_cast<std::int32_t>(width), gray ? 1 : 3};
}

ImageRegion decode_png(std::span<const std::uint8_t> bytes, const Wanted* wanted, OnDamage on_damage) {
  PngDecoder decoder(bytes);
  // As in PIL, a wrong checksum of any chunk before the pixels is damage, that of an ancillary chunk after them is not.
  // The images of a packed set were accepted when they were packed; there libpng skips such a chunk.
  if (on_damage == OnDamage::refuse) {
    png_set_crc_action(decoder.png, PNG_CRC_ERROR_QUIT, PNG_CRC_ERROR_QUIT);
  }
  decoder.read_header();
  const auto height = static_cast<int>(png_get_image_height(decoder.png, decoder.info));
  const PixelBox box = box_of(height, png_get_image_width(decoder.png, decoder.info), wanted);
  const bool wide_gray = decoder.has_wide_gray();
  png_set_crc_action(decoder.png, PNG_CRC_ERROR_QUIT, PNG_CRC_WARN_DISCARD);
  decoder.start();
  const std::size_t row_bytes = png_get_rowbytes(decoder.png, decoder.info);
  ImageRegion region = empty_region(box);
  if (decoder.is_interlaced()) {  // every row is complete only in the last pass
    const RowBuffer all = make_row_buffer(row_bytes * height);
    std::vector<png_bytep> rows(height);
    for (int y = 0; y < height; ++y) {
      rows[y] = all.get() + row_bytes * y;
    }
    decoder.read_rows(rows);
    for (int y = box.top; y < box.top + box.height; ++y) {
      append(region.part.pixels, rows[y], box, wide_gray);
    }
    decoder.finish();
    return region;
  }
  const RowBuffer row = make_row_buffer(row_bytes);
  for (int y = 0; y < box.top + box.height; ++y) {
    decoder.read_row(row.get());
    if (y >= box.top) {
      append(region.part.pixels, row.get(), box, wide_gray);
    }
  }
  if (box.top + box.height == height) {
    decoder.finish();
  }
  return region;
}

}  // namespace maskedkd
