// The classes of a packed set, or of weights: their names, in the order of their labels. A label is only a number;
// where folders sort in another order, or one is missing, the same numbers mean other classes. So the metadata of a
// safetensors file has the names that its weights were trained with, and names are compared wherever weights are used
// with a set, or one set with another (train/class_check.hpp).
#pragma once

#include "maskedkd/io/safetensors.hpp"

#include <optional>
#include <string>
#include <vector>

namespace maskedkd {

using ClassNames = std::vector<std::string>;

struct ClassDifference {
  std::string text;        // what follows "A has other classes than B: ", one line
  bool reordered = false;  // the same names in another order: certainly an error
};

// How the classes `given` differ from those `expected`; nullopt: every label that both have is the same class in both.
// Either may have more labels: a head may have more classes than the data, and a set may lack the last ones. A name
// that begins with a WordNet id is compared by that id alone: "n01440764 tench" is "n01440764".
std::optional<ClassDifference> class_difference(const ClassNames& expected, const ClassNames& given);

// Whether the names are ImageNet's synsets: 1000 different WordNet ids. Published weights have them in ascending order.
bool are_imagenet_synsets(const ClassNames& names);
bool are_imagenet_synsets_in_order(const ClassNames& names);

// The metadata of a safetensors file that lists its classes, as JSON.
SafetensorsMetadata class_metadata(const ClassNames& names);
// The inverse; empty where the metadata has no such list.
ClassNames class_names_in(const SafetensorsMetadata& metadata);

}  // namespace maskedkd
