// Parses JSON from untrusted files (the header of a weights file, a checkpoint's manifest): an object in which no key
// is repeated, of limited depth and length. A general parser silently keeps the last of two equal keys, and needs many
// times the length of a deep or long text in memory.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include <cstddef>
#include <stdexcept>
#include <string_view>

namespace maskedkd {

struct JsonLimits {
  std::size_t depth = 3;           // of nested objects and lists, including the outermost
  std::size_t list_length = 16;    // values of one list
  std::size_t values = 1'000'000;  // of all lists and objects together: a tensor of a weights file has about 8
};

// what() is the violation as a predicate, to follow the name of the text: "names 'x' twice".
class JsonRefusal : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// The first character of the text must be {. Throws JsonRefusal at the first violation.
nlohmann::json parse_strict_json(std::string_view text, const JsonLimits& limits);

}  // namespace maskedkd
