// Unicode text as code points, and in the one spelling that all its canonically equivalent spellings share (NFD). An
// accented letter may be one character, or a letter with a combining mark behind it: it looks the same either way, and
// has other bytes. Some systems and archives change names of folders from one to the other. Wraps utf8proc; called
// where names are compared.
#pragma once

#include <string>
#include <string_view>

namespace maskedkd {

// Decodes UTF-8; each byte that belongs to no character becomes U+FFFD.
std::u32string code_points(std::string_view utf8);

// Normalization Form D (UAX #15): decomposed, combining marks in canonical order. text: from code_points().
std::u32string canonical_decomposition(std::u32string_view text);

// Each character's simple lower case.
std::u32string in_lower_case(std::u32string_view text);

// Whether the character is invisible: a blank of any width, a control, a joiner, a mark of direction.
bool is_invisible(char32_t character);

}  // namespace maskedkd
