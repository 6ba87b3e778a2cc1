// Reads an image file that was listed for packing.
#pragma once

#include "preprocess/record_maker.hpp"

#include <cstdint>
#include <filesystem>
#include <vector>

namespace maskedkd {

struct ListedImage {
  std::filesystem::path path;
  std::uint64_t size_bytes = 0;  // when it was listed
};

// Its bytes. Throws UnreadableImage where the user may not read it, Error where its size has changed since.
std::vector<std::uint8_t> read_image_file(const ListedImage& image);

// The size of the record that make_record() will make of it (see ImageSource::record_bytes()): opens the file only
// where records are decoded, and reads only its header. Throws as read_image_file().
std::uint64_t record_bytes_of(const ListedImage& image, const RecordOptions& options);

}  // namespace maskedkd
