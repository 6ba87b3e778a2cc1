// Lines of --help: words wrapped to its width, and names beside what they mean.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace maskedkd {

inline constexpr unsigned kHelpColumns = 110;

// The words of `text` in lines of at most kHelpColumns, which begin at column `indent`; the first is indented already.
std::string wrapped(const std::string& text, std::size_t indent = 0);
// One line for each name, "  NAME   what it means", with the meanings aligned.
std::string described_names(const std::vector<std::pair<std::string, std::string>>& names);

}  // namespace maskedkd
