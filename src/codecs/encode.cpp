#include "jpeg_errors.hpp"
#include "maskedkd/base/error.hpp"
#include "maskedkd/codecs/image.hpp"
#include "maskedkd/io/posix.hpp"

#include <png.h>

#include <cstdlib>
#include <string_view>
#include <vector>

namespace maskedkd {
namespace {

struct JpegEncoder {
  JpegErrors errors{};
  jpeg_compress_struct info{};
  unsigned char* bytes = nullptr;
  unsigned long size = 0;

  JpegEncoder() {
    info.err = jpeg_std_error(&errors.manager);
    errors.manager.error_exit = fail_jpeg;
  }
  JpegEncoder(const JpegEncoder&) = delete;
  JpegEncoder& operator=(const JpegEncoder&) = delete;
  ~JpegEncoder() {
    jpeg_destroy_compress(&info);
    std::free(bytes);
  }

  void encode(const Image& image, int quality) {
    if (setjmp(errors.mark) != 0) {
      throw Error(
          fmt::format("can't encode {} x {} pixels as JPEG: {}", image.width, image.height, errors.message.data()));
    }
    jpeg_create_compress(&info);
    jpeg_mem_dest(&info, &bytes, &size);
    info.image_height = static_cast<JDIMENSION>(image.height);
    info.image_width = static_cast<JDIMENSION>(image.width);
    info.input_components = 3;
    info.in_color_space = JCS_RGB;
    jpeg_set_defaults(&info);
    jpeg_set_quality(&info, quality, TRUE);
    jpeg_start_compress(&info, TRUE);
    while (info.next_scanline < info.image_height) {
      auto* row = const_cast<JSAMPROW>(image.pixels.data() + std::size_t{3} * info.next_scanline * info.image_width);
      jpeg_write_scanlines(&info, &row, 1);
    }
    jpeg_finish_compress(&info);
  }
};

}  // namespace

std::vector<std::uint8_t> encode_jpeg(const Image& image, int quality) {
  if (quality < 1 || quality > 100) {
    throw Error(fmt::format("a JPEG quality of {} does not lie in [1, 100]", quality));
  }
  if (image.height < 1 || image.width < 1 ||
      image.pixels.size() != std::size_t{3} * static_cast<std::size_t>(image.height) * image.width) {
    throw Error(fmt::format("{} bytes are not an image of {} x {}", image.pixels.size(), image.width, image.height));
  }
  JpegEncoder encoder;
  encoder.encode(image, quality);
  return {encoder.bytes, encoder.bytes + encoder.size};
}

void write_png(const std::filesystem::path& path, const Image& image) {
  png_image description{};
  description.version = PNG_IMAGE_VERSION;
  description.width = static_cast<png_uint_32>(image.width);
  description.height = static_cast<png_uint_32>(image.height);
  description.format = PNG_FORMAT_RGB;
  png_alloc_size_t size = PNG_IMAGE_PNG_SIZE_MAX(description);
  std::vector<char> bytes(size);
  if (png_image_write_to_memory(&description, bytes.data(), &size, 0, image.pixels.data(), 0, nullptr) == 0) {
    throw Error(fmt::format("can't encode {}: {}", path.string(), description.message));
  }
  write_file_atomically(path, std::string_view(bytes.data(), size));
}

}  // namespace maskedkd
