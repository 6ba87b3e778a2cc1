// The words of a command line, prepared for Boost.
#include "command_line_state.hpp"
#include "maskedkd/base/error.hpp"
#include "maskedkd/cli/expanded_path.hpp"
#include "names.hpp"

#include <fmt/ranges.h>

#include <algorithm>
#include <cstring>

namespace maskedkd {

CommandLine::State::Option* CommandLine::State::find(const std::string& name) {
  const auto found = std::find_if(options.begin(), options.end(), [&](const auto& it) { return it.name == name; });
  return found == options.end() ? nullptr : &*found;
}

void CommandLine::State::unknown(const std::string& name, const std::string& where) const {
  const char* const dashes = where.empty() ? "--" : "";
  const std::string message = fmt::format("{}unknown option {}{}", where, dashes, name);
  if (const std::string known_elsewhere = advice ? advice(name) : ""; !known_elsewhere.empty()) {
    throw usage_error(message, known_elsewhere);
  }
  std::vector<std::string> names;
  for (const auto& option : options) {
    names.push_back(option.name);
  }
  const std::string nearest = nearest_name(name, names);
  throw usage_error(message, nearest.empty() ? fmt::format("see {} --help", program)
                                             : fmt::format("did you mean {}{}?", dashes, nearest));
}

// Boost takes an option's name for a missing value of the option before it, and its versions differ in whether a switch
// takes the next word.
std::vector<std::string> CommandLine::State::take_words(int argc, const char* const* argv) {
  std::vector<std::string> result;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (word.rfind("--", 0) != 0) {
      if (positionals.empty() || word.rfind('-', 0) == 0) {
        throw usage_error(fmt::format("unexpected argument '{}'", word),
                          "every option is written --name value or --name=value, and several values of one option "
                          "with commas: --name value,value");
      }
      positional_words.push_back(word);
      continue;
    }
    const auto equals = std::min(word.find('='), word.size());
    const std::string name = with_dashes(word.substr(2, equals - 2));
    const Option* option = find(name);
    if (option == nullptr) {
      unknown(name);
    }
    bool word_follows = equals == word.size() && i + 1 < argc && std::strncmp(argv[i + 1], "--", 2) != 0;
    if (option->is_switch && !positionals.empty()) {
      word_follows = word_follows && is_bool_word(argv[i + 1]);  // another word is a positional argument
    }
    if (option->is_switch && word_follows) {
      result.push_back(fmt::format("--{}={}", name, argv[++i]));
    } else if (word_follows) {
      std::string value = argv[++i];
      while (option->is_list && i + 1 < argc && argv[i + 1][0] != '-') {
        value += fmt::format("\n{}", argv[++i]);
      }
      result.insert(result.end(), {"--" + name, value});
    } else if (option->is_switch || equals != word.size()) {
      result.push_back("--" + name + word.substr(equals));
    } else {
      throw usage_error(fmt::format("--{} has no value", name), fmt::format("see {} --help", program));
    }
  }
  return result;
}

void CommandLine::State::assign_positionals() {
  const std::string hint = fmt::format("{} {}; see {} --help", program, positional_names(), program);
  if (positional_words.size() > positionals.size()) {
    throw usage_error(fmt::format("unexpected argument '{}'", positional_words[positionals.size()]), hint);
  }
  for (std::size_t i = 0; i < positionals.size(); ++i) {
    const bool is_given = i < positional_words.size() && !positional_words[i].empty();
    if (is_given) {
      *positionals[i].value = expanded_path(positionals[i].name, positional_words[i]);
    } else if (positionals[i].is_required) {
      throw usage_error(fmt::format("{} is missing", positionals[i].name), hint);
    }
  }
}

std::string CommandLine::State::positional_names() const {
  std::vector<std::string> names;
  for (const auto& it : positionals) {
    names.push_back(it.is_required ? it.name : fmt::format("[{}]", it.name));
  }
  return fmt::format("{}", fmt::join(names, " "));
}

}  // namespace maskedkd
