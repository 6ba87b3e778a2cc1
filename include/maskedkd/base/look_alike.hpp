// Names that an eye takes for one another, though they are not equal: other case, other blanks, other spelling of the
// same Unicode text. Called where a name is not found among others.
#pragma once

#include <string>
#include <string_view>

namespace maskedkd {

// Names that look alike have the same key. UTF-8.
std::u32string look(std::string_view name);

// How two names that are not equal are alike all the same; empty: they are not.
std::string likeness(const std::string& a, const std::string& b);

// "'b' instead of 'a'", and where the eye may take one for the other, why it is not.
std::string instead_of(const std::string& given, const std::string& expected);

}  // namespace maskedkd
