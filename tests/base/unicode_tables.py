"""python unicode_tables.py > src/base/unicode_tables.hpp: Unicode's canonical decompositions and combining classes as C++.

Takes unicodedata2 from PyPI where it is installed, which is newer than Python's own unicodedata.
"""
import textwrap

try:
    import unicodedata2 as unicodedata
except ImportError:
    import unicodedata

HEAD = """// Unicode %s: what decomposes canonically, and combining classes. Written by tests/base/unicode_tables.py, not by
// hand. What is here never changes: Unicode only adds characters. Hangul syllables decompose by a rule (unicode.cpp).
#pragma once

namespace maskedkd {

// clang-format off
"""


def flat(rows):
    return [f'0x{value:X}' if value > 255 else str(value) for row in rows for value in row]


def decompositions():
    """(character, first, second or 0), by character."""
    for code in range(0x110000):
        parts = unicodedata.decomposition(chr(code)).split()
        if parts and not parts[0].startswith('<') and not 0xAC00 <= code <= 0xD7A3:
            yield [code, int(parts[0], 16), int(parts[1], 16) if len(parts) == 2 else 0]


def combining_ranges():
    ranges = []
    for code in range(0x110000):
        combining = unicodedata.combining(chr(code))
        if combining and ranges and ranges[-1][1:] == [code - 1, combining]:
            ranges[-1][1] = code
        elif combining:
            ranges.append([code, code, combining])
    return ranges


def print_array(name, meaning, numbers):
    rows = textwrap.wrap(' '.join(number + ',' for number in numbers), 140)
    print(f'// {meaning}\ninline constexpr char32_t {name}[] = {{')
    for row in rows:
        print('  ' + row.replace(' ', ''))
    print('};\n')


if __name__ == '__main__':
    print(HEAD % unicodedata.unidata_version)
    print_array('kDecompositions', 'Three numbers each: a character, and the one or two (else 0) that it is made of; ascending.',
                flat(decompositions()))
    print_array('kCombiningClasses', 'Three numbers each: the first and the last character of a run, and its combining class.',
                flat(combining_ranges()))
    print('// clang-format on\n\n}  // namespace maskedkd')
