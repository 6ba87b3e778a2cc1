#include "maskedkd/base/unicode.hpp"

#include "unicode_tables.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <iterator>

namespace maskedkd {
namespace {

// Hangul syllables decompose by arithmetic (The Unicode Standard, section 3.12).
constexpr char32_t kFirstSyllable = 0xAC00, kFirstLeading = 0x1100, kFirstVowel = 0x1161, kBeforeTrailing = 0x11A7;
constexpr char32_t kNumVowels = 21, kNumTrailing = 28, kNumSyllables = 11172;

constexpr char32_t kReplacement = 0xFFFD;

// The row of three numbers with the largest first number that is not above `character`; nullptr: there is none.
template <std::size_t Size>
const char32_t* row_at_or_before(const char32_t (&table)[Size], char32_t character) {
  std::size_t first = 0, last = Size / 3;  // rows; the one looked for lies before `last`
  while (first < last) {
    const std::size_t middle = first + (last - first) / 2;
    if (table[3 * middle] <= character) {
      first = middle + 1;
    } else {
      last = middle;
    }
  }
  return first == 0 ? nullptr : &table[3 * (first - 1)];
}

int combining_class(char32_t character) {
  const char32_t* row = row_at_or_before(kCombiningClasses, character);
  return row != nullptr && character <= row[1] ? static_cast<int>(row[2]) : 0;
}

void append_decomposed(char32_t character, std::u32string& text) {
  if (character >= kFirstSyllable && character < kFirstSyllable + kNumSyllables) {
    const char32_t syllable = character - kFirstSyllable;
    text += kFirstLeading + syllable / (kNumVowels * kNumTrailing);
    text += kFirstVowel + syllable / kNumTrailing % kNumVowels;
    if (syllable % kNumTrailing != 0) {
      text += kBeforeTrailing + syllable % kNumTrailing;
    }
    return;
  }
  const char32_t* row = row_at_or_before(kDecompositions, character);
  if (row == nullptr || row[0] != character) {
    text += character;
    return;
  }
  append_decomposed(row[1], text);
  if (row[2] != 0) {
    append_decomposed(row[2], text);
  }
}

// Length of the sequence that begins with this byte, and the smallest character that may take so many; 0: none begins.
struct Sequence {
  std::size_t length;
  char32_t smallest;
};

Sequence sequence_of(unsigned char first) {
  if (first < 0x80) {
    return {1, 0};
  }
  if (first >= 0xC0 && first < 0xE0) {
    return {2, 0x80};
  }
  if (first >= 0xE0 && first < 0xF0) {
    return {3, 0x800};
  }
  return first >= 0xF0 && first < 0xF8 ? Sequence{4, 0x10000} : Sequence{0, 0};
}

}  // namespace

std::u32string code_points(std::string_view utf8) {
  std::u32string text;
  while (!utf8.empty()) {
    const auto first = static_cast<unsigned char>(utf8.front());
    const Sequence sequence = sequence_of(first);
    bool whole = sequence.length > 0 && sequence.length <= utf8.size();
    char32_t character = sequence.length < 2 ? first : first & (0xFFU >> (sequence.length + 1));
    for (std::size_t i = 1; whole && i < sequence.length; ++i) {
      const auto next = static_cast<unsigned char>(utf8[i]);
      whole = (next & 0xC0U) == 0x80U;
      character = character << 6 | (next & 0x3FU);
    }
    whole =
        whole && character >= sequence.smallest && character <= 0x10FFFF && (character < 0xD800 || character > 0xDFFF);
    text += whole ? character : kReplacement;
    utf8.remove_prefix(whole ? sequence.length : 1);
  }
  return text;
}

std::u32string canonical_decomposition(std::u32string_view text) {
  std::u32string result;
  for (const char32_t character : text) {
    append_decomposed(character, result);
  }
  const auto is_mark = [](char32_t character) { return combining_class(character) != 0; };
  for (auto begin = std::find_if(result.begin(), result.end(), is_mark); begin != result.end();) {
    const auto end = std::find_if_not(begin, result.end(), is_mark);
    std::stable_sort(begin, end, [](char32_t a, char32_t b) { return combining_class(a) < combining_class(b); });
    begin = std::find_if(end, result.end(), is_mark);
  }
  return result;
}

bool is_invisible(char32_t character) {
  constexpr std::array<std::array<char32_t, 2>, 15> kRanges = {{{0x0, 0x20},
                                                                {0x7F, 0xA0},
                                                                {0xAD, 0xAD},
                                                                {0x34F, 0x34F},
                                                                {0x61C, 0x61C},
                                                                {0x1680, 0x1680},
                                                                {0x180B, 0x180F},
                                                                {0x2000, 0x200F},
                                                                {0x2028, 0x202F},
                                                                {0x205F, 0x206F},
                                                                {0x3000, 0x3000},
                                                                {0xFE00, 0xFE0F},
                                                                {0xFEFF, 0xFEFF},
                                                                {0xE0001, 0xE007F},
                                                                {0xE0100, 0xE01EF}}};
  return std::any_of(kRanges.begin(), kRanges.end(),
                     [&](const auto& range) { return character >= range[0] && character <= range[1]; });
}

}  // namespace maskedkd
