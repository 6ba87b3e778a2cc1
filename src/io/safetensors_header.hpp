// Parses the header of a safetensors file and checks every number in it. Works on text, without files and tensors, so
// that a fuzzer can call it millions of times (tests/fuzz). Internal to this module.
#pragma once

#include <c10/core/ScalarType.h>

#include <array>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace maskedkd {

inline constexpr const char* kSafetensorsMetadata = "__metadata__";

struct SafetensorsType {
  const char* name;
  c10::ScalarType type;
  std::int64_t bytes;  // of one element
};
inline constexpr std::array<SafetensorsType, 8> kSafetensorsTypes = {{{"F64", c10::ScalarType::Double, 8},
                                                                      {"F32", c10::ScalarType::Float, 4},
                                                                      {"F16", c10::ScalarType::Half, 2},
                                                                      {"BF16", c10::ScalarType::BFloat16, 2},
                                                                      {"I64", c10::ScalarType::Long, 8},
                                                                      {"I32", c10::ScalarType::Int, 4},
                                                                      {"U8", c10::ScalarType::Byte, 1},
                                                                      {"BOOL", c10::ScalarType::Bool, 1}}};

// Where a tensor's bytes lie in the data that follows the header.
struct SafetensorsEntry {
  std::string name;
  c10::ScalarType type = c10::ScalarType::Float;
  std::int64_t element_bytes = 0;
  std::vector<std::int64_t> shape;
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
};

struct SafetensorsLayout {
  std::vector<SafetensorsEntry> entries;  // in the order of their bytes, which cover the data exactly
  std::map<std::string, std::string> metadata;
};

// The length of the header, from the first 8 bytes of the file (`start` may have fewer or more); it lies within
// file_bytes and the format's limit. file: its name in messages. Throws Error (usage).
std::uint64_t safetensors_header_bytes(std::span<const std::uint8_t> start, std::uint64_t file_bytes,
                                       const std::string& file);

// data_bytes: the number of bytes after the header. Throws Error (usage) that names the tensor and the broken rule.
SafetensorsLayout parse_safetensors_header(std::string_view text, std::uint64_t data_bytes, const std::string& file);

}  // namespace maskedkd
