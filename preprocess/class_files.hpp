// Where classes come from when their folders' names are not all there is to say: a map from folders to classes, so that
// every set of a task has the same classes in the same order, and a list of labels for a folder without class folders.
// Both are text, a line each; a mistake is named with file and line.
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
  std::vector<std::string> class_names;          // in the order of their first lines: the labels
  std::map<std::string, std::int32_t> label_of;  // by folder
};

// Lines "FOLDER CLASS NAME": divided at the first tab, or where there is none at the first blank; FOLDER alone names
// the class too. Empty lines count for nothing. merge: several folders of one name are one class; else they are
// refused, as in ImageNet two folders are called crane. path: for messages. Throws Error (usage).
ClassMap parse_class_map(std::string_view text, const std::filesystem::path& path, bool merge);

struct LabelledFiles {
  bool by_number = false;  // the labels are numbers of classes
  std::vector<std::string> class_names;
  std::vector<std::string> paths;
  std::vector<std::int32_t> labels;
};

// Lines "PATH LABEL": divided at the last tab, or where there is none at the last blank. LABEL: a folder or class of
// the map where there is one, else a number for all files (the classes are then "0", "1", ...), or a class's name for
// all (sorted in `order`). Throws Error (usage); lists of labels alone, as ImageNet's development kit has one, and
// lists with commas by name.
LabelledFiles parse_labels(std::string_view text, const std::filesystem::path& path, const ClassMap* map,
                           ClassOrder order = ClassOrder::text);

}  // namespace maskedkd
