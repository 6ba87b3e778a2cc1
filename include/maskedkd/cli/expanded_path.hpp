// Expands variables in paths that no shell has expanded: in a file of options, in quotes, behind `--name=`. This
// happens on the node that the program runs on, where the folder of $TMPDIR differs from the one on the node where the
// job was submitted.
#pragma once

#include <string>

namespace maskedkd {

// $NAME and ${NAME} become the variable's value, ~ at the beginning the home folder, $$ a dollar sign. Everything else
// stays. what: which path it is, for messages: "--stage-to". Throws Error (usage) for a variable that is not set or
// empty, and for what only a shell can expand: ${NAME:-x}, $(command), $1, ~user.
std::string expanded_path(const std::string& what, const std::string& text);

}  // namespace maskedkd
