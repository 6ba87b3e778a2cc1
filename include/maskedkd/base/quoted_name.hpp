// Names out of files (tensors, members of a checkpoint) inside one-line messages: whatever they hold, the message stays
// one line of sensible length.
#pragma once

#include <string>
#include <string_view>

namespace maskedkd {

// The name with ? for control characters, and cut after about 120 bytes, not within a UTF-8 character.
inline std::string printable_name(std::string_view name) {
  constexpr std::size_t kMostBytes = 120;
  std::size_t length = name.size();
  if (length > kMostBytes) {
    length = kMostBytes;
    while (length > 0 && (static_cast<unsigned char>(name[length]) & 0xC0U) == 0x80U) {
      --length;
    }
  }
  std::string text;
  for (const char c : name.substr(0, length)) {
    text += static_cast<unsigned char>(c) < 0x20 || c == 0x7F ? '?' : c;
  }
  return text + (length < name.size() ? "..." : "");
}

inline std::string quoted_name(std::string_view name) { return "'" + printable_name(name) + "'"; }

}  // namespace maskedkd
