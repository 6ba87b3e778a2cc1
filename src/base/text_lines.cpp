#include "maskedkd/base/text_lines.hpp"

#include "maskedkd/base/error.hpp"

#include <algorithm>

namespace maskedkd {
namespace {

using namespace std::string_view_literals;

// The name that iconv has for the encoding of `text`; empty where that may be UTF-8. With a byte order mark iconv finds
// the order of the bytes itself and removes the mark. Without one, the NULs beside a first ASCII character tell.
std::string_view encoding_with_nuls(std::string_view text) {
  if (text.starts_with("\xFF\xFE\0\0"sv) || text.starts_with("\0\0\xFE\xFF"sv)) {
    return "UTF-32";
  }
  if (text.starts_with("\xFF\xFE"sv) || text.starts_with("\xFE\xFF"sv)) {
    return "UTF-16";
  }
  const std::string_view start = text.substr(0, 4);
  const auto nuls_are = [&](std::string_view pattern) {  // x: any byte but NUL
    return start.size() >= pattern.size() &&
           std::equal(pattern.begin(), pattern.end(), start.begin(),
                      [](char expected, char byte) { return (expected == '0') == (byte == '\0'); });
  };
  if (nuls_are("x000")) {
    return "UTF-32LE";
  }
  if (nuls_are("000x")) {
    return "UTF-32BE";
  }
  if (nuls_are("x0x0") || (start.size() == 2 && nuls_are("x0"))) {
    return "UTF-16LE";
  }
  if (nuls_are("0x0x") || (start.size() == 2 && nuls_are("0x"))) {
    return "UTF-16BE";
  }
  return {};
}

void refuse_other_encodings(std::string_view text, const std::string& name) {
  if (const std::string_view encoding = encoding_with_nuls(text); !encoding.empty()) {
    throw usage_error(fmt::format("{} is text in {}, not in UTF-8", name, encoding),
                      fmt::format("convert it: iconv -f {} -t UTF-8 '{}' > NEW_FILE", encoding, name));
  }
  if (text.starts_with("\x1F\x8B") || text.starts_with("PK\x03\x04")) {
    throw usage_error(fmt::format("{} is compressed, not plain text", name), "unpack it first");
  }
}

}  // namespace

std::vector<TextLine> lines_of_text(std::string_view text, const std::string& name) {
  constexpr std::string_view kMark = "\xEF\xBB\xBF";
  refuse_other_encodings(text, name);
  std::vector<TextLine> lines;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find_first_of("\r\n"), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(text.substr(end).starts_with("\r\n") ? end + 2 : std::min(end + 1, text.size()));
    while (line.starts_with(kMark)) {  // files with marks that were joined have them at later lines too
      line.remove_prefix(kMark.size());
    }
    lines.push_back({static_cast<int>(lines.size()) + 1, line});
    if (line.find('\0') != std::string_view::npos) {
      throw usage_error(fmt::format("{}:{}: a NUL byte: this is not a text file", name, lines.back().number),
                        "name a file of plain text in UTF-8");
    }
  }
  return lines;
}

std::string_view without_blanks(std::string_view text) {
  constexpr std::string_view kBlanks = " \t";
  const std::size_t first = text.find_first_not_of(kBlanks);
  return first == std::string_view::npos ? std::string_view()
                                         : text.substr(first, text.find_last_not_of(kBlanks) + 1 - first);
}

}  // namespace maskedkd
