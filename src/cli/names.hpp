// Names as a user writes them: `-` and `_` are the same, and a misspelt one is answered with the nearest.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace maskedkd {

std::string with_dashes(std::string name);
// The name with the fewest letters to add, drop or change; empty where none is near.
std::string nearest_name(std::string_view misspelt, std::span<const std::string> names);

}  // namespace maskedkd
