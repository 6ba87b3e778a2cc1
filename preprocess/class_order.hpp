// The order in which classes are numbered that are known only by their names: as text, as torchvision's ImageFolder
// sorts class folders, or by the numbers in the names ("class2" before "class10").
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace maskedkd {

enum class ClassOrder { text, natural };

// Natural order: names are compared byte by byte, and where both have a run of the digits 0-9, by the values of the
// runs, without leading zeros; names that are equal in this order are compared as text. A strict total order.
bool comes_before_naturally(std::string_view a, std::string_view b);

void sort_class_names(std::vector<std::string>& names, ClassOrder order);

// A line for the user where the other order would number `names`, which are sorted in `order`, differently: the first
// class that differs, and how to change the order. Empty where both orders are the same.
std::string class_order_warning(const std::vector<std::string>& names, ClassOrder order);

}  // namespace maskedkd
