// The lines of a text file that a user wrote (a class map, a list of labels, a file of options) with any editor on any
// system. A UTF-8 byte order mark is skipped, and a line may end with LF, CR LF or CR. Text in UTF-16 or
// UTF-32 and files that are not text are refused with their kind, because their bytes would otherwise pass for names.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace maskedkd {

struct TextLine {
  int number = 0;         // counted from 1, empty lines included
  std::string_view text;  // part of the text that was given; without its end
};

// All lines of `text`, the empty ones included; what follows the last line end is a line where it is not empty.
// name: the file's, for messages. Throws Error (usage): UTF-16 or UTF-32, with or without a byte order mark; a NUL
// byte; compressed text (gzip, zip).
std::vector<TextLine> lines_of_text(std::string_view text, const std::string& name);

// Without blanks (spaces and tabs) at either end.
std::string_view without_blanks(std::string_view text);

}  // namespace maskedkd
