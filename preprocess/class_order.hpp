// In which order classes are numbered that are known by their names only: as text, as torchvision's ImageFolder sorts
// class folders, or by the numbers in the names, as people count ("class2" before "class10").
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace maskedkd {

enum class ClassOrder { text, natural };

// Natural order: names are compared byte by byte, and where both have a run of the digits 0-9, by the values of the
// runs, however many zeros lead them; names that are equal then are compared as text. A strict total order.
bool comes_before_naturally(std::string_view a, std::string_view b);

void sort_class_names(std::vector<std::string>& names, ClassOrder order);

// One line for the user where `names`, sorted in `order`, would come otherwise in the other order: the first class that
// differs, and what changes the order. Empty where both orders are the same.
std::string remark_on_order(const std::vector<std::string>& names, ClassOrder order);

}  // namespace maskedkd
