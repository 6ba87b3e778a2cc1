// A sheet of small square images in groups (an image beside its changed versions), written as one PNG. Groups stand
// further apart than the images of one group.
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

// Throws Error (usage) where the name has the extension of another kind of file. flag: where it was given, no dashes.
void check_png_name(const std::filesystem::path& path, std::string_view flag);

}  // namespace maskedkd
