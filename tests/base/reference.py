"""Writes the NFD of Python's unicodedata for every character that decomposes and for random texts of letters and
combining marks: one line each, text and NFD as UTF-8 in hexadecimal."""
import pathlib
import random
import sys
import unicodedata


def line(text):
    return f'{text.encode().hex()} {unicodedata.normalize("NFD", text).encode().hex()}\n'


folder = pathlib.Path(sys.argv[1])
known = [chr(code) for code in range(0x110000) if unicodedata.category(chr(code)) not in ('Cn', 'Cs', 'Co')]
decomposed = [character for character in known if unicodedata.normalize('NFD', character) != character]
(folder / 'characters.txt').write_text(''.join(line(character) for character in known))

numbers = random.Random(1)
marks = [character for character in known if unicodedata.combining(character)]
texts = (''.join(numbers.choice(numbers.choice([decomposed, marks, marks, known])) for _ in range(12)) for _ in range(20000))
(folder / 'texts.txt').write_text(''.join(line(text) for text in texts))
