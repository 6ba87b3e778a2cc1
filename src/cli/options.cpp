#include "maskedkd/cli/options.hpp"

#include "command_line_state.hpp"
#include "help.hpp"
#include "maskedkd/base/error.hpp"
#include "maskedkd/cli/expanded_path.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <string_view>
#include <type_traits>
#include <utility>

namespace maskedkd {
namespace {

namespace po = boost::program_options;

constexpr std::array<std::string_view, 4> kTrue = {"true", "1", "on", "yes"};
constexpr std::array<std::string_view, 4> kFalse = {"false", "0", "off", "no"};

bool is_one_of(const std::string& text, const std::array<std::string_view, 4>& words) {
  return std::find(words.begin(), words.end(), text) != words.end();
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

template <typename T>
std::function<std::string(const std::string&)> into_number(const std::string& name, T& value, const char* kind) {
  return [&value, name, kind](const std::string& text) {
    value = parse_number<T>(name, text, kind);
    return fmt::format("{}", value);
  };
}

}  // namespace

bool is_bool_word(const std::string& text) { return is_one_of(text, kTrue) || is_one_of(text, kFalse); }

void CommandLine::State::add(const std::string& name, const std::string& default_text, const std::string& description,
                             const char* kind, std::function<std::string(const std::string&)> assign) {
  const bool flag = kind == std::string_view("BOOL");
  auto* value = po::value<std::string>()->value_name(kind);
  if (flag) {
    value->implicit_value("true", "");  // an empty text: --help shows BOOL, not [=BOOL(=true)]
  }
  const std::string shown = default_text.empty() ? std::string() : " [" + default_text + "]";
  groups.back().add_options()(name.c_str(), value, (description + shown).c_str());
  options.push_back({name, default_text, std::move(assign), flag, default_text});
  options.back().path = kind == std::string_view("PATH");
}

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
  state_->add(name, value.string(), description, "PATH", [&value, name](const std::string& text) {
    value = expanded_path("--" + name, text);
    return value.string();
  });
  return *this;
}

CommandLine& CommandLine::option(const std::string& name, int& value, const std::string& description) {
  state_->add(name, fmt::format("{}", value), description, "N", into_number(name, value, "a whole number"));
  return *this;
}

CommandLine& CommandLine::option(const std::string& name, std::int64_t& value, const std::string& description) {
  state_->add(name, fmt::format("{}", value), description, "N", into_number(name, value, "a whole number"));
  return *this;
}

CommandLine& CommandLine::option(const std::string& name, std::uint64_t& value, const std::string& description) {
  state_->add(name, fmt::format("{}", value), description, "N", into_number(name, value, "a whole number >= 0"));
  return *this;
}

CommandLine& CommandLine::option(const std::string& name, double& value, const std::string& description) {
  state_->add(name, fmt::format("{}", value), description, "X", into_number(name, value, "a number"));
  return *this;
}

CommandLine& CommandLine::option(const std::string& name, bool& value, const std::string& description) {
  state_->add(name, value ? "true" : "false", description, "BOOL", [&value, name](const std::string& text) {
    if (!is_bool_word(text)) {
      throw usage_error(fmt::format("--{}: '{}' is neither true nor false", name, text), "");
    }
    value = is_one_of(text, kTrue);
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

CommandLine& CommandLine::positional(const std::string& name, std::filesystem::path& value,
                                     const std::string& description, bool is_required) {
  state_->positionals.push_back({name, &value, description, is_required});
  return *this;
}

CommandLine& CommandLine::advise_unknown(std::function<std::string(const std::string&)> advice) {
  state_->advice = std::move(advice);
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

  const std::vector<std::string> arguments = state_->take_words(argc, argv);
  po::variables_map values;
  po::options_description everything;
  for (const auto& group : state_->groups) {
    everything.add(group);
  }
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
  state_->assign_positionals();
  // Enumerations parse their default too: an empty text means that the variable keeps what it has.
  for (auto& option : state_->options) {
    if (!option.text.empty()) {
      option.text = option.assign(option.text);
    }
  }
  for (auto& option : state_->options) {
    option.on_command_line = values.count(option.name) != 0;
  }
  if (state_->find("config")->on_command_line) {
    state_->config_path = expanded_path("--config", values["config"].as<std::string>());
    state_->read_config_file();
  }
  for (auto& option : state_->options) {
    if (option.on_command_line) {
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

void CommandLine::refuse_given(std::initializer_list<const char*> names, const std::string& beside,
                               const std::string& why) const {
  for (const char* name : names) {
    if (given(name)) {
      throw usage_error(fmt::format("--{} is given with {}: {}", name, beside, why), "leave one of them out");
    }
  }
}

}  // namespace maskedkd
