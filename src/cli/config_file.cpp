// The file of --config.
#include "command_line_state.hpp"
#include "maskedkd/base/error.hpp"
#include "maskedkd/base/text_lines.hpp"
#include "names.hpp"

#include <fstream>
#include <iterator>
#include <string_view>

namespace maskedkd {
namespace {

std::string_view without_comment(std::string_view line) {
  for (auto hash = line.find('#'); hash != std::string_view::npos; hash = line.find('#', hash + 1)) {
    if (hash == 0 || line[hash - 1] == ' ' || line[hash - 1] == '\t') {
      return line.substr(0, hash);
    }
  }
  return line;
}

}  // namespace

// `key = value` a line; a comment begins with # at the start of a line or after a blank.
void CommandLine::State::read_config_file() {
  std::ifstream file(config_path);
  if (!file || !std::filesystem::is_regular_file(config_path)) {
    throw usage_error(fmt::format("--config: can't read {}", config_path), "");
  }
  const std::string content{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  for (const TextLine& whole : lines_of_text(content, config_path)) {
    const std::string where = fmt::format("{}:{}: ", config_path, whole.number);
    const std::string_view line = without_blanks(without_comment(whole.text));
    if (line.empty()) {
      continue;
    }
    const auto equals = line.find('=');
    const std::string name = with_dashes(std::string(without_blanks(line.substr(0, equals))));
    if (equals == std::string_view::npos || name.empty()) {
      throw usage_error(fmt::format("{}'{}' is not an option", where, line),
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
    if (option->is_path && option->on_command_line) {
      continue;  // the file may name a variable that only other nodes have
    }
    option->text = without_blanks(line.substr(equals + 1));
    try {
      option->text = option->assign(option->text);
    } catch (const Error& error) {
      throw usage_error(where + error.what(), error.hint());
    }
  }
}

}  // namespace maskedkd
