#include "preprocess/image_file.hpp"

#include "maskedkd/codecs/image.hpp"
#include "maskedkd/io/posix.hpp"
#include "preprocess/folder_walk.hpp"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <span>
#include <system_error>

namespace maskedkd {
namespace {

FileDescriptor open_if_allowed(const std::filesystem::path& path) {
  try {
    return open_for_reading(path);
  } catch (const Error& error) {
    if (::access(path.c_str(), R_OK) != 0 && (errno == EACCES || errno == EPERM)) {
      throw UnreadableImage(std::error_code(errno, std::generic_category()).message());
    }
    throw;
  }
}

FileDescriptor open_unchanged(const ListedImage& image) {
  FileDescriptor opened = open_if_allowed(image.path);
  const std::uint64_t size = file_size_bytes(opened, image.path);
  if (size != image.size_bytes) {
    throw Error(fmt::format("{} was changed while it was packed: it had {} bytes and has {} now",
                            printable_path(image.path), image.size_bytes, size),
                "make sure that nobody changes the folder, and start again");
  }
  return opened;
}

// nullopt where the bytes end within the header, or are not an image.
std::optional<RecordShape> shape_in_header(std::span<const std::uint8_t> bytes) {
  try {
    return read_image_shape(bytes);
  } catch (const Error&) {
    return std::nullopt;
  }
}

}  // namespace

std::vector<std::uint8_t> read_image_file(const ListedImage& image) {
  const FileDescriptor opened = open_unchanged(image);
  std::vector<std::uint8_t> bytes(image.size_bytes);
  read_exactly(opened, 0, bytes, image.path);
  return bytes;
}

std::uint64_t record_bytes_of(const ListedImage& image, const RecordOptions& options) {
  constexpr std::uint64_t kMostHeaders = 1 << 16;  // longer headers are rare: long colour profiles or comments
  if (!options.decoded) {
    return options.expected_bytes(image.size_bytes);
  }
  const FileDescriptor opened = open_unchanged(image);
  std::vector<std::uint8_t> bytes(std::min(image.size_bytes, kMostHeaders));
  read_exactly(opened, 0, bytes, image.path);
  std::optional<RecordShape> shape = shape_in_header(bytes);
  if (!shape && bytes.size() < image.size_bytes) {
    shape = shape_in_header(read_image_file(image));
  }
  return shape ? options.decoded_bytes(*shape) : 0;
}

}  // namespace maskedkd
