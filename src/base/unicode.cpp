#include "maskedkd/base/unicode.hpp"

#include <utf8proc.h>

#include <array>
#include <vector>

namespace maskedkd {
namespace {

constexpr char32_t kReplacement = 0xFFFD;

const utf8proc_uint8_t* bytes_of(std::string_view text) {
  return reinterpret_cast<const utf8proc_uint8_t*>(text.data());
}

std::string to_utf8(std::u32string_view text) {
  std::string utf8;
  std::array<utf8proc_uint8_t, 4> bytes{};
  for (const char32_t character : text) {
    const auto length = utf8proc_encode_char(static_cast<utf8proc_int32_t>(character), bytes.data());
    utf8.append(bytes.begin(), bytes.begin() + length);
  }
  return utf8;
}

}  // namespace

std::u32string code_points(std::string_view utf8) {
  std::u32string text;
  while (!utf8.empty()) {
    utf8proc_int32_t character = 0;
    const auto length = utf8proc_iterate(bytes_of(utf8), static_cast<utf8proc_ssize_t>(utf8.size()), &character);
    text += length > 0 ? static_cast<char32_t>(character) : kReplacement;
    utf8.remove_prefix(length > 0 ? static_cast<std::size_t>(length) : 1);
  }
  return text;
}

std::u32string canonical_decomposition(std::u32string_view text) {
  const std::string utf8 = to_utf8(text);
  std::vector<utf8proc_int32_t> result;
  const auto decompose = [&] {
    return utf8proc_decompose(bytes_of(utf8), static_cast<utf8proc_ssize_t>(utf8.size()), result.data(),
                              static_cast<utf8proc_ssize_t>(result.size()), UTF8PROC_DECOMPOSE);
  };
  result.resize(static_cast<std::size_t>(decompose()));
  decompose();
  return {result.begin(), result.end()};
}

std::u32string in_lower_case(std::u32string_view text) {
  std::u32string lower(text);
  for (char32_t& character : lower) {
    character = static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(character)));
  }
  return lower;
}

bool is_invisible(char32_t character) {
  const utf8proc_property_t* property = utf8proc_get_property(static_cast<utf8proc_int32_t>(character));
  switch (property->category) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_ZS:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
      return true;
    default:
      return property->ignorable != 0;
  }
}

}  // namespace maskedkd
