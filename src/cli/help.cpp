#include "help.hpp"

#include "command_line_state.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <sstream>

namespace maskedkd {

std::string wrapped(const std::string& text, std::size_t indent) {
  std::string result;
  std::size_t column = indent;
  std::istringstream words(text);
  for (std::string word; words >> word;) {
    if (column > indent && column + 1 + word.size() > kHelpColumns) {
      result += '\n' + std::string(indent, ' ');
      column = indent;
    }
    if (column > indent) {
      result += ' ';
      ++column;
    }
    result += word;
    column += word.size();
  }
  return result;
}

std::string described_names(const std::vector<std::pair<std::string, std::string>>& names) {
  std::size_t width = 0;
  for (const auto& [name, meaning] : names) {
    width = std::max(width, name.size());
  }
  std::string result;
  for (const auto& [name, meaning] : names) {
    result += fmt::format("  {:{}}  {}\n", name, width, wrapped(meaning, width + 4));
  }
  return result;
}

namespace {

// " [0.5]". A switch that is off says nothing; one that is on says how to turn it off.
std::string default_text(const std::string& name, const std::string& text, bool is_switch) {
  if (is_switch) {
    return text == "true" ? fmt::format(" [on; off: --{} false]", name) : "";
  }
  return text.empty() ? "" : fmt::format(" [{}]", text);
}

}  // namespace

std::string CommandLine::help() const {
  std::ostringstream text;
  text << wrapped(state_->purpose) << "\n\n";
  if (!state_->positionals.empty()) {
    text << fmt::format("Usage:\n  {} {} [--option VALUE]...\n\n", state_->program, state_->positional_names());
  }
  text << "For example:\n  " << state_->example << "\n\n";
  if (!state_->positionals.empty()) {
    std::vector<std::pair<std::string, std::string>> names;
    for (const auto& it : state_->positionals) {
      names.emplace_back(it.name, it.description);
    }
    text << "Arguments:\n" << described_names(names) << '\n';
  }
  for (std::size_t group = 0; group < state_->groups.size(); ++group) {
    std::vector<std::pair<std::string, std::string>> names;
    for (const State::Option& option : state_->options) {
      if (option.group == group) {
        names.emplace_back(fmt::format("--{} {}", option.name, option.kind),
                           option.description + default_text(option.name, option.text, option.is_switch));
      }
    }
    text << state_->groups[group] << ":\n" << described_names(names) << '\n';
  }
  return text.str();
}

}  // namespace maskedkd
