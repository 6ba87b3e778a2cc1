#include "maskedkd/base/error.hpp"
#include "maskedkd/images/image.hpp"
#include "maskedkd/io/posix.hpp"

#include <png.h>

#include <string_view>
#include <vector>

namespace maskedkd {

void write_png(const std::filesystem::path& path, const Image& image) {
  png_image description{};
  description.version = PNG_IMAGE_VERSION;
  description.width = static_cast<png_uint_32>(image.width);
  description.height = static_cast<png_uint_32>(image.height);
  description.format = PNG_FORMAT_RGB;
  png_alloc_size_t size = PNG_IMAGE_PNG_SIZE_MAX(description);
  std::vector<char> bytes(size);
  if (png_image_write_to_memory(&description, bytes.data(), &size, 0, image.pixels.data(), 0, nullptr) == 0) {
    throw Error(fmt::format("{} can't be made: {}", path.string(), description.message));
  }
  write_file_atomically(path, std::string_view(bytes.data(), size));
}

}  // namespace maskedkd
