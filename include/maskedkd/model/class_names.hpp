// The classes of a packed set, or of weights: their names, in the order of their labels. A label is only a number, and
// a set whose folders sort in another order, or that lacks one, gives the numbers to other classes. So weights carry
// the names that they were trained with, in the metadata of their safetensors file, and wherever weights meet a set, or
// one set another, the names are compared (train/class_check.hpp).
#pragma once

#include "maskedkd/io/safetensors.hpp"

#include <optional>
#include <string>
#include <vector>

namespace maskedkd {

using ClassNames = std::vector<std::string>;

struct ClassDifference {
  std::string text;        // what follows "A has other classes than B: ", one line
  bool reordered = false;  // the same names in another order: they are other classes beyond doubt
};

// How the classes `given` differ from those `expected`; nullopt: every label that both have is the same class in both.
// Either may have more labels: a head may have room for more classes than the data has, and a set may lack the last
// ones. A name that begins with a WordNet id is known by that id: "n01440764 tench" is "n01440764".
std::optional<ClassDifference> class_difference(const ClassNames& expected, const ClassNames& given);

// Whether the names are ImageNet's synsets: 1000 different WordNet ids. Published weights have them in ascending order.
bool are_imagenet_synsets(const ClassNames& names);
bool are_imagenet_synsets_in_order(const ClassNames& names);

// What a safetensors file says of its classes in its metadata, as a JSON list.
SafetensorsMetadata class_metadata(const ClassNames& names);
// The inverse; empty: the metadata has no such list.
ClassNames class_names_in(const SafetensorsMetadata& metadata);

}  // namespace maskedkd
