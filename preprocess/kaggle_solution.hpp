// Kaggle's form of ImageNet's validation labels, LOC_val_solution.csv: a header, then a line an image with its name
// without ending, the class folder of its object and a box, once for each object:
//   ILSVRC2012_val_00048981,n03995372 85 1 499 272
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace maskedkd {

bool is_kaggle_solution(std::string_view text);

// The same as lines "PATH<tab>CLASS FOLDER", which parse_labels reads, with the same line numbers. PATH is the image
// below `root` that has the name and .JPEG, .jpg, .jpeg or .png. path: for messages. Throws Error (usage), with the
// line: an image that is not there or there with two endings, objects of several classes, another form.
std::string labels_of_kaggle_solution(std::string_view text, const std::filesystem::path& path,
                                      const std::filesystem::path& root);

}  // namespace maskedkd
