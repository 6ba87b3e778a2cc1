#include "preprocess/class_order.hpp"

#include "maskedkd/base/quoted_name.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace maskedkd {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// Removes the digits at the front of `text`, and returns them without leading zeros.
std::string_view take_number(std::string_view& text) {
  const std::size_t length = std::min(text.find_first_not_of("0123456789"), text.size());
  std::string_view digits = text.substr(0, length);
  text.remove_prefix(length);
  digits.remove_prefix(std::min(digits.find_first_not_of('0'), digits.size()));
  return digits;
}

}  // namespace

bool comes_before_naturally(std::string_view a, std::string_view b) {
  std::string_view rest_a = a, rest_b = b;
  while (!rest_a.empty() && !rest_b.empty()) {
    if (is_digit(rest_a.front()) && is_digit(rest_b.front())) {
      const std::string_view number_a = take_number(rest_a), number_b = take_number(rest_b);
      if (number_a.size() != number_b.size()) {
        return number_a.size() < number_b.size();
      }
      if (number_a != number_b) {
        return number_a < number_b;
      }
    } else if (rest_a.front() != rest_b.front()) {
      return static_cast<unsigned char>(rest_a.front()) < static_cast<unsigned char>(rest_b.front());
    } else {
      rest_a.remove_prefix(1);
      rest_b.remove_prefix(1);
    }
  }
  return rest_a.empty() && rest_b.empty() ? a < b : rest_a.empty();
}

void sort_class_names(std::vector<std::string>& names, ClassOrder order) {
  if (order == ClassOrder::natural) {
    std::sort(names.begin(), names.end(), comes_before_naturally);
  } else {
    std::sort(names.begin(), names.end());
  }
}

std::string class_order_warning(const std::vector<std::string>& names, ClassOrder order) {
  std::vector<std::string> others = names;
  sort_class_names(others, order == ClassOrder::text ? ClassOrder::natural : ClassOrder::text);
  const auto [name, other] = std::mismatch(names.begin(), names.end(), others.begin());
  if (name == names.end()) {
    return {};
  }
  const auto label = name - names.begin();
  if (order == ClassOrder::text) {
    return fmt::format(
        "the classes are numbered in the order of their names as text, as in torchvision's ImageFolder, not in the "
        "order of the numbers in them: class {} is {}, not {}; --class-order natural or a --class-map changes that",
        label, quoted_name(*name), quoted_name(*other));
  }
  return fmt::format("--class-order natural: class {} is {}; in torchvision's ImageFolder it is {}", label,
                     quoted_name(*name), quoted_name(*other));
}

}  // namespace maskedkd
