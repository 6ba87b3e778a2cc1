// Paths as a shell would read them, where no shell has: in a file of options, in quotes, behind `--name=`. The node
// that the program runs on decides what they mean; the folder of $TMPDIR is another one there than where the job was
// submitted.
#pragma once

#include <string>

namespace maskedkd {

// $NAME and ${NAME} become the variable, ~ at the beginning the home folder, $$ a dollar sign. Everything else stays.
// what: whose path it is, for messages: "--stage-to". Throws Error (usage) for a variable that is not set or empty, and
// for what only a shell can expand: ${NAME:-x}, $(command), $1, ~user.
std::string expanded_path(const std::string& what, const std::string& text);

}  // namespace maskedkd
