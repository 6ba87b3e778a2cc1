// Recognises, by their names, folders and files that operating systems, file servers, editors and version control
// create beside data, and that nobody means as classes or images. torchvision's ImageFolder does not exclude them.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace maskedkd {

// Both return the kind for messages (".ipynb_checkpoints", "._* (AppleDouble)"), and "" for data. Names are compared
// exactly, as these systems always write them in the same spelling.
std::string kind_of_folder_without_data(std::string_view name);
// A file whose name begins with "._" is opened, and is AppleDouble only if it has its magic number (0x00051607, RFC
// 1740); if it can't be opened, it counts as data.
std::string kind_of_file_without_data(const std::filesystem::path& path);

}  // namespace maskedkd
