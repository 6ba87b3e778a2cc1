// Folders and files that operating systems, file servers, editors and version control leave among data. They are known
// by their names; nobody means them as classes or images. torchvision's ImageFolder does not know them.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace maskedkd {

// Each returns the kind, as a message names it (".ipynb_checkpoints", "._* (AppleDouble)"); empty where the name is
// that of data. Names that systems write in one spelling only are compared as they are.
std::string kind_of_folder_without_data(std::string_view name);
// Of the file `path`. A name that begins with "._" is not enough: the file is opened, and AppleDouble has its own magic
// number (0x00051607, RFC 1740). What can't be opened is data.
std::string kind_of_file_without_data(const std::filesystem::path& path);

}  // namespace maskedkd
