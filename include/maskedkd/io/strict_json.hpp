// JSON that comes from outside (the header of a weights file, a checkpoint's manifest): an object, no key twice, and
// neither deep nor long. A general parser keeps the last of two equal keys without a word, and what is deep or long
// costs it many times its length in memory.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include <cstddef>
#include <stdexcept>
#include <string_view>

namespace maskedkd {

struct JsonLimits {
  std::size_t depth = 3;           // objects and lists inside one another, the outermost counted
  std::size_t list_length = 16;    // values of one list
  std::size_t values = 1'000'000;  // of all lists and objects together: a tensor of a weights file has about 8
};

// what(): what the text does wrong, to be put after its name: "names 'x' twice".
class JsonRefusal : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// text must begin with its { . Throws JsonRefusal, as soon as a rule is broken.
nlohmann::json parse_strict_json(std::string_view text, const JsonLimits& limits);

}  // namespace maskedkd
