#include "decoders.hpp"
#include "file_parts.hpp"
#include "jpeg_errors.hpp"
#include "maskedkd/base/error.hpp"

#include <algorithm>

namespace maskedkd {
namespace {

void warn_jpeg(j_common_ptr info, int level) {
  if (level >= 0) {  // a trace message
    return;
  }
  const JpegWarning kind = kind_of_warning(info->err->msg_code);
  auto* errors = reinterpret_cast<JpegErrors*>(info->err);
  if (kind == JpegWarning::truncation || (kind == JpegWarning::damage && !errors->decodes_damage)) {
    fail_jpeg(info);
  }
  if (kind == JpegWarning::damage && errors->message[0] == '\0') {
    errors->manager.format_message(info, errors->message.data());
  }
}

// PIL's product of two lights, rounded. As in PIL, every file is assumed to be one of Adobe's, which store 255 - ink,
// whether or not it has their marker.
std::uint8_t ink_to_light(std::uint8_t colour, std::uint8_t black) {
  const int product = colour * black + 128;
  return static_cast<std::uint8_t>((product + (product >> 8)) >> 8);
}

// libjpeg-turbo 2.1 and later can skip columns and rows outside a box and give the same bits, which
// tests/codecs/decode_region_test.cpp verifies, for the formats of photographs: gray, or three components with chroma
// of half or full resolution. Earlier versions had bugs in this (their ChangeLog, 1.5.3 to 2.0.6), IJG's libjpeg can't
// do it, and for rarer formats (4:1:1, four inks) it is not verified. An image of several scans is decoded into memory
// before its first row, and missing scans are smoothed with neighbouring blocks. In all these cases whole rows are
// decoded, from the first to the last that is needed.
#if defined(LIBJPEG_TURBO_VERSION_NUMBER) && LIBJPEG_TURBO_VERSION_NUMBER >= 2001000
constexpr int kMarginColumns = 8;  // chroma is interpolated between neighbours, which differ at a cut edge

bool can_leave_out(j_decompress_ptr info) {
  if (jpeg_has_multiple_scans(info)) {
    return false;
  }
  const auto samples = [&](int component, int across, int down) {
    const jpeg_component_info& part = info->comp_info[component];
    return part.h_samp_factor == across && part.v_samp_factor == down;
  };
  if (info->num_components == 1) {
    return samples(0, 1, 1);
  }
  return info->num_components == 3 && samples(1, 1, 1) && samples(2, 1, 1) && info->max_h_samp_factor <= 2 &&
         info->max_v_samp_factor <= 2;
}

// Returns the first column of the rows that will be read.
int leave_out(j_decompress_ptr info, const PixelBox& box) {
  const auto width = static_cast<int>(info->output_width);
  const int left = std::max(0, box.left - kMarginColumns);
  const int right = std::min(width, box.left + box.width + kMarginColumns);
  auto first = static_cast<JDIMENSION>(left), count = static_cast<JDIMENSION>(right - left);
  if (right - left < width) {
    jpeg_crop_scanline(info, &first, &count);
  }
  if (box.top > 0) {
    jpeg_skip_scanlines(info, static_cast<JDIMENSION>(box.top));
  }
  return static_cast<int>(first);
}
#else
bool can_leave_out(j_decompress_ptr /*info*/) { return false; }
int leave_out(j_decompress_ptr /*info*/, const PixelBox& /*box*/) { return 0; }
#endif

struct JpegDecoder {
  JpegErrors errors{};
  jpeg_decompress_struct info{};
  std::span<const std::uint8_t> bytes;

  explicit JpegDecoder(std::span<const std::uint8_t> file, OnDamage on_damage = OnDamage::refuse) : bytes(file) {
    info.err = jpeg_std_error(&errors.manager);
    errors.decodes_damage = on_damage == OnDamage::decode_as_pil;
    errors.manager.error_exit = fail_jpeg;
    errors.manager.emit_message = warn_jpeg;
  }
  JpegDecoder(const JpegDecoder&) = delete;
  JpegDecoder& operator=(const JpegDecoder&) = delete;
  ~JpegDecoder() { jpeg_destroy_decompress(&info); }

  [[noreturn]] void refuse() const { throw Error(fmt::format("not a valid JPEG file: {}", errors.message.data())); }

  void read_header() {
    if (setjmp(errors.mark) != 0) {
      refuse();
    }
    jpeg_create_decompress(&info);
    jpeg_mem_src(&info, bytes.data(), bytes.size());
    jpeg_read_header(&info, TRUE);
  }

  bool has_four_inks() const { return info.jpeg_color_space == JCS_CMYK || info.jpeg_color_space == JCS_YCCK; }

  // Returns the first column of the rows that will be read; info.output_scanline is the next row.
  int start(const PixelBox& box) {
    if (setjmp(errors.mark) != 0) {
      refuse();
    }
    info.out_color_space = has_four_inks() ? JCS_CMYK : JCS_RGB;
    jpeg_start_decompress(&info);
    return can_leave_out(&info) ? leave_out(&info, box) : 0;
  }

  // row: output_width pixels of output_components bytes.
  void read_row(std::uint8_t* row) {
    if (setjmp(errors.mark) != 0) {
      refuse();
    }
    jpeg_read_scanlines(&info, &row, 1);
  }

  // Finds damage after the last row.
  void finish() {
    if (setjmp(errors.mark) != 0) {
      refuse();
    }
    jpeg_finish_decompress(&info);
  }
};

}  // namespace

RecordShape read_jpeg_shape(std::span<const std::uint8_t> bytes) {
  JpegDecoder decoder(bytes);
  decoder.read_header();
  refuse_size(decoder.info.image_height, decoder.info.image_width);
  return {static_cast<std::int32_t>(decoder.info.image_height), static_cast<std::int32_t>(decoder.info.image_width),
          decoder.info.num_components == 1 ? 1 : 3};
}

ImageRegion decode_jpeg(std::span<const std::uint8_t> bytes, const Wanted* wanted, OnDamage on_damage) {
  JpegDecoder decoder(bytes, on_damage);
  decoder.read_header();
  const PixelBox box = box_of(decoder.info.image_height, decoder.info.image_width, wanted);
  const int first_column = decoder.start(box);
  const bool has_four_inks = decoder.has_four_inks();
  const std::size_t pixel_bytes = decoder.info.output_components;
  const RowBuffer row = make_row_buffer(decoder.info.output_width * pixel_bytes);
  while (static_cast<int>(decoder.info.output_scanline) < box.top) {
    decoder.read_row(row.get());
  }
  ImageRegion region = empty_region(box);
  std::vector<std::uint8_t>& pixels = region.part.pixels;
  const std::uint8_t* begin = row.get() + (box.left - first_column) * pixel_bytes;
  for (int y = 0; y < box.height; ++y) {
    decoder.read_row(row.get());
    if (!has_four_inks) {
      pixels.insert(pixels.end(), begin, begin + static_cast<std::size_t>(box.width) * 3);
      continue;
    }
    for (int x = 0; x < box.width; ++x) {
      const std::uint8_t* inks = begin + std::size_t{4} * x;
      for (int channel = 0; channel < 3; ++channel) {
        pixels.push_back(ink_to_light(inks[channel], inks[3]));
      }
    }
  }
  if (decoder.info.output_scanline == decoder.info.output_height) {
    decoder.finish();
  }
  region.damage = decoder.errors.message.data();
  return region;
}

}  // namespace maskedkd
