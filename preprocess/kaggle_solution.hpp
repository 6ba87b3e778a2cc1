// Reads ImageNet's validation labels in the format of Kaggle's LOC_val_solution.csv: a header, then one line for each
// image with its name without extension and, for each object in it, the class folder and a box:
//   ILSVRC2012_val_00048981,n03995372 85 1 499 272
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace maskedkd {

bool is_kaggle_solution(std::string_view text);

// The text converted to lines "PATH<tab>CLASS FOLDER", which parse_labels() reads, with the same line numbers. PATH is
// the image in `root` that has the name and the extension .JPEG, .jpg, .jpeg or .png. path: for messages. Throws Error
// (usage) that names the line: an image that is missing or exists with two extensions, objects of several classes,
// another format.
std::string labels_of_kaggle_solution(std::string_view text, const std::filesystem::path& path,
                                      const std::filesystem::path& root);

}  // namespace maskedkd
