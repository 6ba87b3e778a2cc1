// Files that define classes: a map from folders to classes, so that every set of a task has the same classes in the
// same order, and a list of labels for a folder without class folders. Both are text with one entry a line; errors name
// the file and the line.
#pragma once

#include "preprocess/class_order.hpp"

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace maskedkd {

struct ClassMap {
  std::vector<std::string> class_names;          // by label: in the order of their first lines
  std::map<std::string, std::int32_t> label_of;  // by folder
};

// Lines "FOLDER CLASS NAME", split at the first tab, or without a tab at the first blank; a line with only FOLDER uses
// it as the class name too. Empty lines are ignored. merge: folders with the same class name are one class; without it
// they are refused, as in ImageNet two different classes are named crane. path: for messages. Throws Error (usage).
ClassMap parse_class_map(std::string_view text, const std::filesystem::path& path, bool merge);

struct LabelledFiles {
  bool by_number = false;  // the file gives the labels as numbers
  std::vector<std::string> class_names;
  std::vector<std::string> paths;
  std::vector<std::int32_t> labels;
};

// Lines "PATH LABEL", split at the last tab, or without a tab at the last blank. LABEL: with a map, one of its folders,
// class names or label numbers; without, either numbers in all lines (the classes are then "0", "1", ...) or class
// names in all lines (sorted in `order`). Throws Error (usage), with advice for lists of labels without paths, as in
// ImageNet's development kit, and for lists with commas.
LabelledFiles parse_labels(std::string_view text, const std::filesystem::path& path, const ClassMap* map,
                           ClassOrder order = ClassOrder::text);

}  // namespace maskedkd
