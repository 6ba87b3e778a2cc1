// The names of an enumeration's values, as users write them and files hold them: one table for both directions, and one
// message for a name that is not in it.
#pragma once

#include "maskedkd/base/error.hpp"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace maskedkd {

template <typename Value, std::size_t N>
using EnumNames = std::array<std::pair<const char*, Value>, N>;

// The value of that name; nullopt: the table has no such name.
template <typename Value, std::size_t N>
std::optional<Value> find_name(const EnumNames<Value, N>& names, std::string_view text) {
  const auto entry = std::find_if(names.begin(), names.end(), [&](const auto& known) { return text == known.first; });
  return entry == names.end() ? std::nullopt : std::optional<Value>(entry->second);
}

// The same. what: what it was given for, "--precision". Throws Error (usage) which lists the names.
template <typename Value, std::size_t N>
Value parse_name(const EnumNames<Value, N>& names, std::string_view text, std::string_view what) {
  if (const auto value = find_name(names, text)) {
    return *value;
  }
  std::vector<std::string_view> known;
  for (const auto& [name, value] : names) {
    known.emplace_back(name);
  }
  throw usage_error(fmt::format("{}: '{}' is unknown", what, text),
                    fmt::format("choose from {}", fmt::join(known, ", ")));
}

// The name of a value that the table has.
template <typename Value, std::size_t N>
const char* name_of(const EnumNames<Value, N>& names, Value value) {
  return std::find_if(names.begin(), names.end(), [&](const auto& entry) { return entry.second == value; })->first;
}

}  // namespace maskedkd
