// The file of --config.
#include "command_line_state.hpp"
#include "maskedkd/base/error.hpp"
#include "names.hpp"

#include <fstream>
#include <string_view>

namespace maskedkd {
namespace {

std::string trimmed(std::string_view text) {
  constexpr std::string_view kBlanks = " \t\r";
  const auto first = text.find_first_not_of(kBlanks);
  return first == std::string_view::npos ? std::string()
                                         : std::string(text.substr(first, text.find_last_not_of(kBlanks) + 1 - first));
}

void cut_comment(std::string& line) {
  for (auto hash = line.find('#'); hash != std::string::npos; hash = line.find('#', hash + 1)) {
    if (hash == 0 || line[hash - 1] == ' ' || line[hash - 1] == '\t') {
      line.resize(hash);
      return;
    }
  }
}

}  // namespace

// `key = value` a line; a comment begins with # at the start of a line or after a blank.
void CommandLine::State::read_config_file() {
  std::ifstream file(config_path);
  if (!file || !std::filesystem::is_regular_file(config_path)) {
    throw usage_error(fmt::format("--config: can't read {}", config_path), "");
  }
  int line_number = 0;
  for (std::string line; std::getline(file, line);) {
    const std::string where = fmt::format("{}:{}: ", config_path, ++line_number);
    cut_comment(line);
    if (trimmed(line).empty()) {
      continue;
    }
    const auto equals = line.find('=');
    const std::string name = with_dashes(trimmed(line.substr(0, equals)));
    if (equals == std::string::npos || name.empty()) {
      throw usage_error(fmt::format("{}'{}' is no option", where, trimmed(line)),
                        "one `key = value` a line, # for comments");
    }
    Option* option = find(name);
    if (option == nullptr) {
      unknown(name, where);
    }
    if (name == "config" || name == "help" || option->given) {
      throw usage_error(
          fmt::format("{}{} {}", where, name, option->given ? "is given twice" : "belongs on the command line"));
    }
    option->given = true;
    option->text = trimmed(line.substr(equals + 1));
    try {
      option->text = option->assign(option->text);
    } catch (const Error& error) {
      throw usage_error(where + error.what(), error.hint());
    }
  }
}

}  // namespace maskedkd
