#include "maskedkd/cli/options.hpp"

#include "maskedkd/base/error.hpp"

#include <boost/program_options.hpp>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>
#include <deque>
#include <fstream>
#include <limits>
#include <numeric>
#include <sstream>
#include <string_view>
#include <type_traits>
#include <utility>

namespace maskedkd {
namespace {

namespace po = boost::program_options;

constexpr unsigned kHelpColumns = 110;

std::string with_dashes(std::string name) {
  std::replace(name.begin(), name.end(), '_', '-');
  return name;
}

template <typename T>
T parse_number(const std::string& name, const std::string& text, const char* kind) {
  T value{};
  const char* end = text.data() + text.size();
  const auto [stopped, error] = std::from_chars(text.data(), end, value);
  if (error == std::errc::result_out_of_range) {
    throw usage_error(fmt::format("--{}: {} is out of range", name, text), "");
  }
  bool finite = true;
  if constexpr (std::is_floating_point_v<T>) {
    finite = std::isfinite(value);
  }
  if (error != std::errc() || stopped != end || !finite) {
    throw usage_error(fmt::format("--{}: '{}' is not {}", name, text, kind), "");
  }
  return value;
}

bool parse_bool(const std::string& name, const std::string& text) {
  if (text == "true" || text == "1" || text == "on" || text == "yes") {
    return true;
  }
  if (text == "false" || text == "0" || text == "off" || text == "no") {
    return false;
  }
  throw usage_error(fmt::format("--{}: '{}' is neither true nor false", name, text), "");
}

std::string trimmed(std::string_view text) {
  constexpr std::string_view kBlanks = " \t\r";
  const auto first = text.find_first_not_of(kBlanks);
  return first == std::string_view::npos ? std::string()
                                         : std::string(text.substr(first, text.find_last_not_of(kBlanks) + 1 - first));
}

// Levenshtein distance: how many letters to add, drop or change.
std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t changed = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, changed});
    }
  }
  return row.back();
}

}  // namespace

struct CommandLine::State {
  struct Option {
    std::string name;
    std::string default_text;
    std::function<std::string(const std::string&)> assign;  // returns the one text that the value has
    bool flag = false;                                      // a bool: needs no value
    std::string text;                                       // after parse()
    bool given = false;
  };

  std::string program, purpose, example;
  std::deque<po::options_description> groups;
  std::vector<Option> options;
  std::vector<std::string> required;
  std::string config_path;

  void add(const std::string& name, const std::string& default_text, const std::string& description, const char* kind,
           std::function<std::string(const std::string&)> assign) {
    const bool flag = kind == std::string_view("BOOL");
    auto* value = po::value<std::string>()->value_name(kind);
    if (flag) {
      value->implicit_value("true", "");  // an empty text: --help shows BOOL, not [=BOOL(=true)]
    }
    const std::string shown = default_text.empty() ? std::string() : " [" + default_text + "]";
    groups.back().add_options()(name.c_str(), value, (description + shown).c_str());
    options.push_back({name, default_text, std::move(assign), flag, default_text, false});
  }

  template <typename T>
  void add_number(const std::string& name, T& value, const std::string& description, const char* kind,
                  const char* what) {
    add(name, fmt::format("{}", value), description, kind, [&value, name, what](const std::string& text) {
      value = parse_number<T>(name, text, what);
      return fmt::format("{}", value);
    });
  }

  po::options_description all() const {
    po::options_description everything;
    for (const auto& group : groups) {
      everything.add(group);
    }
    return everything;
  }

  Option* find(const std::string& name) {
    const auto found = std::find_if(options.begin(), options.end(), [&](const auto& it) { return it.name == name; });
    return found == options.end() ? nullptr : &*found;
  }

  // where: "FILE:LINE: " for a key of the file, empty for a flag of the command line.
  [[noreturn]] void unknown(const std::string& name, const std::string& where = {}) const {
    const char* const dashes = where.empty() ? "--" : "";
    std::string nearest;
    std::size_t best = std::numeric_limits<std::size_t>::max();
    for (const auto& option : options) {
      const std::size_t distance = edit_distance(name, option.name);
      if (distance < best) {
        best = distance;
        nearest = option.name;
      }
    }
    const bool close = best <= std::max<std::size_t>(2, name.size() / 3);
    throw usage_error(
        fmt::format("{}unknown option {}{}", where, dashes, name),
        close ? fmt::format("did you mean {}{}?", dashes, nearest) : fmt::format("see {} --help", program));
  }

  // What Boost is to parse: names with dashes, a flag's word behind a `=`. Boost would take an option's name for the
  // value that the option before it lacks, and, by version, leave or take the word behind a flag.
  std::vector<std::string> words(int argc, const char* const* argv) {
    std::vector<std::string> result;
    for (int i = 1; i < argc; ++i) {
      const std::string word = argv[i];
      if (word.rfind("--", 0) != 0) {
        throw usage_error(fmt::format("unexpected argument '{}'", word),
                          "every option is written --name value or --name=value");
      }
      const auto equals = std::min(word.find('='), word.size());
      const std::string name = with_dashes(word.substr(2, equals - 2));
      const Option* option = find(name);
      if (option == nullptr) {
        unknown(name);
      }
      const bool word_follows = equals == word.size() && i + 1 < argc && std::strncmp(argv[i + 1], "--", 2) != 0;
      if (option->flag && word_follows) {
        result.push_back(fmt::format("--{}={}", name, argv[++i]));
      } else if (word_follows) {
        result.push_back("--" + name);
        result.emplace_back(argv[++i]);
      } else if (option->flag || equals != word.size()) {
        result.push_back("--" + name + word.substr(equals));
      } else {
        throw usage_error(fmt::format("--{} has no value", name), fmt::format("see {} --help", program));
      }
    }
    return result;
  }

  // `key = value` a line; a comment begins with # at the start of a line or after a blank.
  void read_file() {
    std::ifstream file(config_path);
    if (!file || !std::filesystem::is_regular_file(config_path)) {
      throw usage_error(fmt::format("--config: can't read {}", config_path), "");
    }
    int line_number = 0;
    for (std::string line; std::getline(file, line);) {
      const std::string where = fmt::format("{}:{}: ", config_path, ++line_number);
      for (auto hash = line.find('#'); hash != std::string::npos; hash = line.find('#', hash + 1)) {
        if (hash == 0 || line[hash - 1] == ' ' || line[hash - 1] == '\t') {
          line.resize(hash);
          break;
        }
      }
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
};

CommandLine::CommandLine(std::string program, std::string purpose, std::string example)
    : state_(std::make_unique<State>()) {
  state_->program = std::move(program);
  state_->purpose = std::move(purpose);
  state_->example = std::move(example);
}

CommandLine::~CommandLine() = default;

CommandLine& CommandLine::group(const std::string& title) {
  state_->groups.emplace_back(title, kHelpColumns, kHelpColumns / 2);
  return *this;
}

CommandLine& CommandLine::option(const std::string& name, std::string& value, const std::string& description) {
  state_->add(name, value, description, "TEXT", [&value](const std::string& text) { return value = text; });
  return *this;
}

CommandLine& CommandLine::option(const std::string& name, std::filesystem::path& value,
                                 const std::string& description) {
  state_->add(name, value.string(), description, "PATH", [&value](const std::string& text) {
    value = text;
    return text;
  });
  return *this;
}

CommandLine& CommandLine::option(const std::string& name, int& value, const std::string& description) {
  state_->add_number(name, value, description, "N", "a whole number");
  return *this;
}

CommandLine& CommandLine::option(const std::string& name, std::int64_t& value, const std::string& description) {
  state_->add_number(name, value, description, "N", "a whole number");
  return *this;
}

CommandLine& CommandLine::option(const std::string& name, std::uint64_t& value, const std::string& description) {
  state_->add_number(name, value, description, "N", "a whole number >= 0");
  return *this;
}

CommandLine& CommandLine::option(const std::string& name, double& value, const std::string& description) {
  state_->add_number(name, value, description, "X", "a number");
  return *this;
}

CommandLine& CommandLine::option(const std::string& name, bool& value, const std::string& description) {
  state_->add(name, value ? "true" : "false", description, "BOOL", [&value, name](const std::string& text) {
    value = parse_bool(name, text);
    return std::string(value ? "true" : "false");
  });
  return *this;
}

CommandLine& CommandLine::option(const std::string& name, const std::string& default_text,
                                 const std::string& description, std::function<void(const std::string&)> parse) {
  state_->add(name, default_text, description, "NAME", [parse = std::move(parse)](const std::string& text) {
    parse(text);
    return text;
  });
  return *this;
}

CommandLine& CommandLine::required(const std::string& name) {
  state_->required.push_back(name);
  return *this;
}

bool CommandLine::parse(int argc, const char* const* argv) {
  group("General");
  option("config", state_->config_path, "file with `key = value` lines of these options; the command line wins");
  bool wants_help = false;
  option("help", wants_help, "print this and end");

  const std::vector<std::string> arguments = state_->words(argc, argv);
  po::variables_map values;
  const po::options_description everything = state_->all();
  try {
    const int style = po::command_line_style::allow_long | po::command_line_style::long_allow_adjacent |
                      po::command_line_style::long_allow_next;
    po::store(po::command_line_parser(arguments).options(everything).style(style).run(), values);
  } catch (const po::error& error) {
    throw usage_error(error.what(), fmt::format("see {} --help", state_->program));
  }
  if (values.count("help") != 0) {
    return false;
  }
  // Enumerations parse their default too: an empty text means that the variable keeps what it has.
  for (auto& option : state_->options) {
    if (!option.text.empty()) {
      option.text = option.assign(option.text);
    }
  }
  if (values.count("config") != 0) {
    state_->config_path = values["config"].as<std::string>();
    state_->read_file();
  }
  for (auto& option : state_->options) {
    if (values.count(option.name) != 0) {
      option.given = true;
      option.text = values[option.name].as<std::string>();
      option.text = option.assign(option.text);
    }
  }
  for (const auto& name : state_->required) {
    if (state_->find(name)->text.empty()) {
      throw usage_error(fmt::format("--{} is missing", name), fmt::format("see {} --help", state_->program));
    }
  }
  return true;
}

std::string CommandLine::help() const {
  std::ostringstream text;
  std::size_t column = 0;
  std::istringstream words(state_->purpose);
  for (std::string word; words >> word; column += word.size() + 1) {
    if (column + word.size() > kHelpColumns) {
      text << '\n';
      column = 0;
    }
    text << (column > 0 ? " " : "") << word;
  }
  text << "\n\nFor example:\n  " << state_->example << "\n\n";
  for (const auto& group : state_->groups) {
    text << group << '\n';
  }
  return text.str();
}

std::vector<std::pair<std::string, std::string>> CommandLine::resolved() const {
  std::vector<std::pair<std::string, std::string>> result;
  for (const auto& option : state_->options) {
    if (option.name != "help" && option.name != "config") {
      result.emplace_back(option.name, option.text);
    }
  }
  return result;
}

bool CommandLine::given(const std::string& name) const {
  return std::any_of(state_->options.begin(), state_->options.end(),
                     [&](const auto& option) { return option.name == name && option.given; });
}

}  // namespace maskedkd
