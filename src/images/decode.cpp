#include "maskedkd/base/error.hpp"
#include "maskedkd/images/image.hpp"

// jpeglib.h needs size_t and FILE before it.
#include <cstdio>

#include <jpeglib.h>

#include <jerror.h>
#include <png.h>

#include <array>
#include <csetjmp>
#include <cstring>
#include <memory>

namespace maskedkd {
namespace {

constexpr std::int64_t kLargestImage = std::int64_t{1} << 28;  // pixels

void check_size(std::int64_t height, std::int64_t width) {
  if (height < 1 || width < 1 || height > kLargestImage / width) {
    throw Error(fmt::format("an image of {} x {} pixels is refused", width, height));
  }
}

bool is_jpeg(std::span<const std::uint8_t> bytes) {
  return bytes.size() > 3 && bytes[0] == 0xFF && bytes[1] == 0xD8 && bytes[2] == 0xFF;
}

bool is_png(std::span<const std::uint8_t> bytes) { return bytes.size() > 8 && png_sig_cmp(bytes.data(), 0, 8) == 0; }

// libjpeg reports through C callbacks. They must not throw through C frames that were not compiled for it, so an error
// jumps back to the one function that set the mark; everything it skips is plain data.
struct JpegErrors {
  jpeg_error_mgr manager;
  std::jmp_buf mark;
  std::array<char, JMSG_LENGTH_MAX> message;
};

void fail_jpeg(j_common_ptr info) {
  auto* errors = reinterpret_cast<JpegErrors*>(info->err);
  info->err->format_message(info, errors->message.data());
  std::longjmp(errors->mark, 1);
}

// A warning means that data are damaged or end early: half an image is no image. But for those that leave every pixel
// in its place, and that photographs from the web do have: odd version and colour fields, bytes before the end marker.
void warn_jpeg(j_common_ptr info, int level) {
  constexpr int kEndOfImage = 0xD9;
  const jpeg_error_mgr& errors = *info->err;
  const bool harmless = errors.msg_code == JWRN_JFIF_MAJOR || errors.msg_code == JWRN_ADOBE_XFORM ||
                        (errors.msg_code == JWRN_EXTRANEOUS_DATA && errors.msg_parm.i[1] == kEndOfImage);
  if (level < 0 && !harmless) {
    fail_jpeg(info);
  }
}

struct JpegDecoder {
  JpegErrors errors{};
  jpeg_decompress_struct info{};
  std::span<const std::uint8_t> bytes;

  explicit JpegDecoder(std::span<const std::uint8_t> file) : bytes(file) {
    info.err = jpeg_std_error(&errors.manager);
    errors.manager.error_exit = fail_jpeg;
    errors.manager.emit_message = warn_jpeg;
  }
  JpegDecoder(const JpegDecoder&) = delete;
  JpegDecoder& operator=(const JpegDecoder&) = delete;
  ~JpegDecoder() { jpeg_destroy_decompress(&info); }

  [[noreturn]] void refuse() const { throw Error(fmt::format("not a whole JPEG: {}", errors.message.data())); }

  void read_header() {
    if (setjmp(errors.mark) != 0) {
      refuse();
    }
    jpeg_create_decompress(&info);
    jpeg_mem_src(&info, bytes.data(), bytes.size());
    jpeg_read_header(&info, TRUE);
  }

  bool four_colours() const { return info.jpeg_color_space == JCS_CMYK || info.jpeg_color_space == JCS_YCCK; }

  // Rows of info.output_components bytes a pixel into `out`, which holds them all.
  void read_pixels(std::uint8_t* out) {
    if (setjmp(errors.mark) != 0) {
      refuse();
    }
    while (info.output_scanline < info.output_height) {
      JSAMPROW row = out + static_cast<std::size_t>(info.output_scanline) * info.output_width * info.output_components;
      jpeg_read_scanlines(&info, &row, 1);
    }
    jpeg_finish_decompress(&info);
  }

  void start() {
    if (setjmp(errors.mark) != 0) {
      refuse();
    }
    info.out_color_space = four_colours() ? JCS_CMYK : JCS_RGB;
    jpeg_start_decompress(&info);
  }
};

// PIL's: light times light, rounded. As PIL does, every file is taken for one of Adobe's, which hold 255 - ink, whether
// or not it has their marker.
std::uint8_t ink_to_light(std::uint8_t colour, std::uint8_t black) {
  const int product = colour * black + 128;
  return static_cast<std::uint8_t>((product + (product >> 8)) >> 8);
}

Image decode_jpeg(std::span<const std::uint8_t> bytes) {
  JpegDecoder decoder(bytes);
  decoder.read_header();
  check_size(decoder.info.image_height, decoder.info.image_width);
  decoder.start();
  Image image;
  image.height = static_cast<int>(decoder.info.output_height);
  image.width = static_cast<int>(decoder.info.output_width);
  const std::size_t num_pixels = static_cast<std::size_t>(image.height) * image.width;
  image.pixels.resize(num_pixels * 3);
  if (!decoder.four_colours()) {
    decoder.read_pixels(image.pixels.data());
    return image;
  }
  std::vector<std::uint8_t> inks(num_pixels * 4);
  decoder.read_pixels(inks.data());
  for (std::size_t i = 0; i < num_pixels; ++i) {
    for (std::size_t channel = 0; channel < 3; ++channel) {
      image.pixels[3 * i + channel] = ink_to_light(inks[4 * i + channel], inks[4 * i + 3]);
    }
  }
  return image;
}

// libpng jumps on its own; warnings (odd colour profiles and the like) don't matter, damage is an error of its own.
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

  [[noreturn]] void refuse() const { throw Error(fmt::format("not a whole PNG: {}", message)); }

  void read_header() {
    if (setjmp(png_jmpbuf(png)) != 0) {
      refuse();
    }
    png_read_info(png, info);
  }

  // 8-bit RGB, alpha dropped; 16-bit colours keep their upper byte, and 16-bit gray is clipped at 255, as PIL does
  // both.
  void read_pixels(std::vector<png_bytep>& rows) {
    if (setjmp(png_jmpbuf(png)) != 0) {
      refuse();
    }
    png_read_image(png, rows.data());
    png_read_end(png, nullptr);
  }

  void set_up(bool wide_gray) {
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
    if (!wide_gray) {
      png_set_strip_16(png);
    }
    png_set_strip_alpha(png);
    if (!wide_gray && (colour == PNG_COLOR_TYPE_GRAY || colour == PNG_COLOR_TYPE_GRAY_ALPHA)) {
      png_set_gray_to_rgb(png);
    }
    png_read_update_info(png, info);
  }
};

Image decode_png(std::span<const std::uint8_t> bytes) {
  PngDecoder decoder(bytes);
  decoder.read_header();
  Image image;
  check_size(png_get_image_height(decoder.png, decoder.info), png_get_image_width(decoder.png, decoder.info));
  image.height = static_cast<int>(png_get_image_height(decoder.png, decoder.info));
  image.width = static_cast<int>(png_get_image_width(decoder.png, decoder.info));
  const bool wide_gray = png_get_bit_depth(decoder.png, decoder.info) == 16 &&
                         png_get_color_type(decoder.png, decoder.info) == PNG_COLOR_TYPE_GRAY;
  decoder.set_up(wide_gray);
  const std::size_t row_bytes = png_get_rowbytes(decoder.png, decoder.info);
  std::vector<std::uint8_t> stored(row_bytes * image.height);
  std::vector<png_bytep> rows(image.height);
  for (int y = 0; y < image.height; ++y) {
    rows[y] = stored.data() + row_bytes * y;
  }
  decoder.read_pixels(rows);
  if (!wide_gray) {
    image.pixels = std::move(stored);
    return image;
  }
  image.pixels.resize(static_cast<std::size_t>(image.height) * image.width * 3);
  for (std::size_t i = 0; i < image.pixels.size() / 3; ++i) {
    const std::uint8_t level = stored[2 * i] != 0 ? 255 : stored[2 * i + 1];
    std::memset(&image.pixels[3 * i], level, 3);
  }
  return image;
}

}  // namespace

RecordShape read_image_shape(std::span<const std::uint8_t> file_bytes) {
  RecordShape shape;
  if (is_jpeg(file_bytes)) {
    JpegDecoder decoder(file_bytes);
    decoder.read_header();
    check_size(decoder.info.image_height, decoder.info.image_width);
    shape = {static_cast<std::int32_t>(decoder.info.image_height), static_cast<std::int32_t>(decoder.info.image_width),
             decoder.info.num_components == 1 ? 1 : 3};
  } else if (is_png(file_bytes)) {
    PngDecoder decoder(file_bytes);
    decoder.read_header();
    const auto height = png_get_image_height(decoder.png, decoder.info);
    const auto width = png_get_image_width(decoder.png, decoder.info);
    check_size(height, width);
    const bool gray = (png_get_color_type(decoder.png, decoder.info) & PNG_COLOR_MASK_COLOR) == 0;
    shape = {static_cast<std::int32_t>(height), static_cast<std::int32_t>(width), gray ? 1 : 3};
  } else {
    throw Error("neither JPEG nor PNG");
  }
  return shape;
}

Image decode_image(std::span<const std::uint8_t> file_bytes) {
  if (is_jpeg(file_bytes)) {
    return decode_jpeg(file_bytes);
  }
  if (is_png(file_bytes)) {
    return decode_png(file_bytes);
  }
  throw Error("neither JPEG nor PNG");
}

Image decode_record(const Record& record, RecordEncoding encoding) {
  if (encoding == RecordEncoding::file) {
    return decode_image(record.bytes);
  }
  const RecordShape& shape = record.shape;
  check_size(shape.height, shape.width);
  const std::size_t num_pixels = static_cast<std::size_t>(shape.height) * shape.width;
  if ((shape.channels != 1 && shape.channels != 3) || record.bytes.size() != num_pixels * shape.channels) {
    throw Error(fmt::format("{} bytes are no image of {} x {} x {}", record.bytes.size(), shape.height, shape.width,
                            shape.channels));
  }
  Image image{shape.height, shape.width, {}};
  if (shape.channels == 3) {
    image.pixels = record.bytes;
    return image;
  }
  image.pixels.resize(num_pixels * 3);
  for (std::size_t i = 0; i < num_pixels; ++i) {
    std::memset(&image.pixels[3 * i], record.bytes[i], 3);
  }
  return image;
}

ImageRegion decode_record_region(const Record& record, RecordEncoding encoding, const PixelBox& /*box*/) {
  return {decode_record(record, encoding), 0, 0};
}

}  // namespace maskedkd
