// Canonical decomposition against Python's unicodedata (tests/base/reference.py).
#include "maskedkd/base/unicode.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace maskedkd::testing {
namespace {

std::u32string from_hexadecimal(const std::string& digits) {
  std::string bytes;
  for (std::size_t i = 0; i + 1 < digits.size(); i += 2) {
    bytes += static_cast<char>(std::strtol(digits.substr(i, 2).c_str(), nullptr, 16));
  }
  return code_points(bytes);
}

void expect_decompositions_of(const std::string& name, int at_least) {
  std::ifstream file(std::filesystem::path(MASKEDKD_REFERENCE_DIR) / name);
  int compared = 0;
  for (std::string text, expected; file >> text >> expected; ++compared) {
    ASSERT_EQ(canonical_decomposition(from_hexadecimal(text)), from_hexadecimal(expected)) << text;
  }
  EXPECT_GE(compared, at_least);
}

TEST(Unicode, EveryCharacterDecomposesAsUnicodeSays) { expect_decompositions_of("characters.txt", 130'000); }

TEST(Unicode, CombiningMarksComeInCanonicalOrder) { expect_decompositions_of("texts.txt", 20'000); }

TEST(Unicode, Utf8IsDecodedAndInvalidBytesAreReplaced) {
  EXPECT_EQ(code_points("a\u00E9\u20AC\U0001F600"), U"a\u00E9\u20AC\U0001F600");
  EXPECT_EQ(code_points(""), U"");
  // Latin-1, an overlong slash, a surrogate, a character past the last one, a truncated sequence.
  EXPECT_EQ(code_points("caf\xE9"), U"caf\uFFFD");
  EXPECT_EQ(code_points("\xC0\xAF"), U"\uFFFD\uFFFD");
  EXPECT_EQ(code_points("\xED\xA0\x80"), U"\uFFFD\uFFFD\uFFFD");
  EXPECT_EQ(code_points("\xF4\x90\x80\x80"), U"\uFFFD\uFFFD\uFFFD\uFFFD");
  EXPECT_EQ(code_points("\xE2\x82"
                        "a"),
            U"\uFFFD\uFFFD"
            U"a");
}

TEST(Unicode, InvisibleCharactersAreFound) {
  for (const char32_t character : U" \t\u00A0\u00AD\u200B\u202F\u3000\uFEFF") {
    EXPECT_TRUE(is_invisible(character)) << static_cast<unsigned>(character);
  }
  for (const char32_t character : {U'a', U'_', U'-', U'0', U'\u00E9', U'\u0301', U'\u2010', U'\u4E00'}) {
    EXPECT_FALSE(is_invisible(character)) << static_cast<unsigned>(character);
  }
}

}  // namespace
}  // namespace maskedkd::testing
