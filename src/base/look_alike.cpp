#include "maskedkd/base/look_alike.hpp"

#include "maskedkd/base/quoted_name.hpp"
#include "maskedkd/base/unicode.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

namespace maskedkd {
namespace {

// The text without blanks and joining characters, which are easily overlooked.
std::u32string without_blanks(std::u32string_view text) {
  std::u32string letters;
  std::copy_if(text.begin(), text.end(), std::back_inserter(letters),
               [](char32_t c) { return !is_invisible(c) && c != U'_' && c != U'-'; });
  return letters;
}

std::string code_point_text(std::u32string_view text) {
  constexpr std::size_t kMost = 6;
  std::string shown;
  for (const char32_t c : text.substr(0, kMost)) {
    shown += fmt::format("{}U+{:04X}", shown.empty() ? "" : " ", static_cast<std::uint32_t>(c));
  }
  return text.empty() ? "nothing" : shown + (text.size() > kMost ? " ..." : "");
}

bool is_plain(char32_t c) { return c > 0x20 && c < 0x7F; }

}  // namespace

std::string likeness(const std::string& a, const std::string& b) {
  const std::u32string text_a = canonical_decomposition(code_points(a)),
                       text_b = canonical_decomposition(code_points(b));
  if (text_a == text_b) {
    return "the same text in another Unicode normalisation";
  }
  const std::u32string letters_a = without_blanks(text_a), letters_b = without_blanks(text_b);
  if (letters_a == letters_b) {
    return "the same text but for blanks or joining characters";
  }
  if (in_lower_case(text_a) == in_lower_case(text_b)) {
    return "the same text but for upper and lower case";
  }
  return in_lower_case(letters_a) == in_lower_case(letters_b) ? "the same text but for case and blanks" : "";
}

std::u32string look_key(std::string_view name) {
  return in_lower_case(without_blanks(canonical_decomposition(code_points(name))));
}

std::string instead_of(const std::string& given, const std::string& expected) {
  std::string text = fmt::format("{} instead of {}", quoted_name(given), quoted_name(expected));
  const std::u32string a = code_points(given), b = code_points(expected);
  const auto first = std::mismatch(a.begin(), a.end(), b.begin(), b.end());
  const auto last = std::mismatch(std::reverse_iterator(a.end()), std::reverse_iterator(first.first),
                                  std::reverse_iterator(b.end()), std::reverse_iterator(first.second));
  const std::u32string other_a(first.first, last.first.base()), other_b(first.second, last.second.base());
  const bool is_visible = std::all_of(other_a.begin(), other_a.end(), is_plain) &&
                          std::all_of(other_b.begin(), other_b.end(), is_plain) &&
                          quoted_name(given) != quoted_name(expected);
  const std::string alike = likeness(given, expected);
  if (!alike.empty()) {
    text += ", " + alike;
  }
  if (!is_visible) {
    text += fmt::format(" ({} instead of {})", code_point_text(other_a), code_point_text(other_b));
  }
  return text;
}

}  // namespace maskedkd
