// Names that look alike though they are not equal: they differ in case, in blanks, or in how the same Unicode text is
// encoded. Called where a name is not found among others.
#pragma once

#include <string>
#include <string_view>

namespace maskedkd {

// Names that look alike have the same key. UTF-8.
std::u32string look_key(std::string_view name);

// In which way two different names look alike; empty: they do not.
std::string likeness(const std::string& a, const std::string& b);

// "'b' instead of 'a'", and how they differ where that is hard to see.
std::string instead_of(const std::string& given, const std::string& expected);

}  // namespace maskedkd
