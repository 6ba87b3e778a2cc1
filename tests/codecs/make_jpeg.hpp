// JPEG files of every layout that libjpeg writes, more than PIL can write.
#pragma once

#include "maskedkd/codecs/image.hpp"

#include <cstdio>
#include <cstdlib>
#include <random>
#include <vector>

#include <jpeglib.h>

namespace maskedkd::testing {

struct JpegLayout {
  int num_components = 3;    // 1 gray, 3 YCbCr, 4 CMYK
  int across = 1, down = 1;  // sampling factors of the first component
  int second_down = 1;       // of the second component
  bool progressive = false;
  bool arithmetic = false;
  bool single_scans = false;  // one scan a component, not progressive
  int restart_interval = 0;   // in minimum coded units
  int quality = 90;
};

// pixels: [height, width, num_components]. An error of libjpeg ends the test.
inline std::vector<std::uint8_t> make_jpeg(const std::vector<std::uint8_t>& pixels, int height, int width,
                                           const JpegLayout& layout) {
  jpeg_compress_struct info{};
  jpeg_error_mgr errors;
  info.err = jpeg_std_error(&errors);
  jpeg_create_compress(&info);
  unsigned char* bytes = nullptr;
  unsigned long size = 0;
  jpeg_mem_dest(&info, &bytes, &size);
  info.image_height = static_cast<JDIMENSION>(height);
  info.image_width = static_cast<JDIMENSION>(width);
  info.input_components = layout.num_components;
  info.in_color_space = layout.num_components == 1 ? JCS_GRAYSCALE : layout.num_components == 3 ? JCS_RGB : JCS_CMYK;
  jpeg_set_defaults(&info);
  jpeg_set_quality(&info, layout.quality, TRUE);
  info.comp_info[0].h_samp_factor = layout.across;
  info.comp_info[0].v_samp_factor = layout.down;
  if (layout.num_components > 1) {
    info.comp_info[1].v_samp_factor = layout.second_down;
  }
  info.restart_interval = static_cast<unsigned>(layout.restart_interval);
  info.arith_code = layout.arithmetic ? TRUE : FALSE;
  jpeg_scan_info scans[4] = {};
  if (layout.progressive) {
    jpeg_simple_progression(&info);
  } else if (layout.single_scans) {
    for (int i = 0; i < layout.num_components; ++i) {
      scans[i] = {1, {i}, 0, 63, 0, 0};
    }
    info.scan_info = scans;
    info.num_scans = layout.num_components;
  }
  jpeg_start_compress(&info, TRUE);
  while (info.next_scanline < info.image_height) {
    auto* row =
        const_cast<JSAMPROW>(&pixels[static_cast<std::size_t>(info.next_scanline) * width * layout.num_components]);
    jpeg_write_scanlines(&info, &row, 1);
  }
  jpeg_finish_compress(&info);
  std::vector<std::uint8_t> result(bytes, bytes + size);
  jpeg_destroy_compress(&info);
  std::free(bytes);
  return result;
}

// Gradients with noise: neighbouring blocks and neighbouring chroma values differ.
inline std::vector<std::uint8_t> noisy_pixels(std::mt19937_64& random, int height, int width, int channels) {
  std::vector<std::uint8_t> pixels(static_cast<std::size_t>(height) * width * channels);
  const int fy = 1 + static_cast<int>(random() % 23), fx = 1 + static_cast<int>(random() % 23);
  const std::uint64_t noise = 1 + random() % 200;
  for (std::size_t i = 0; i < pixels.size(); ++i) {
    const auto at = static_cast<int>(i) / channels;
    const int smooth = at / width * fy + at % width * fx + static_cast<int>(i) % channels * 70;
    pixels[i] = static_cast<std::uint8_t>(smooth + static_cast<int>(random() % noise));
  }
  return pixels;
}

}  // namespace maskedkd::testing
