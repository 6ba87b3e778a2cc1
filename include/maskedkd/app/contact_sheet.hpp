// A sheet of small square images in groups (an image and what was made of it stand closer than groups do), written as
// one PNG.
#pragma once

#include "maskedkd/codecs/image.hpp"

#include <cstdint>
#include <filesystem>
#include <span>
#include <string_view>

namespace maskedkd {

class ContactSheet {
 public:
  // edge: pixels of an image; below 112 each is enlarged by a whole factor.
  ContactSheet(int num_groups, int images_per_group, int groups_per_row, int edge);
  void put(int group, int position, std::span<const std::uint8_t> pixels);  // [edge, edge, 3]
  void write(const std::filesystem::path& path) const;                      // throws Error

 private:
  int images_per_group_, groups_per_row_, edge_, factor_;
  Image sheet_;
};

// Throws a usage error where the name ends like another kind of file's. flag: that gave it, without dashes.
void check_png_name(const std::filesystem::path& path, std::string_view flag);

}  // namespace maskedkd
