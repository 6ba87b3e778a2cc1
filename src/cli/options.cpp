#include "maskedkd/cli/options.hpp"

#include "command_line_state.hpp"
#include "maskedkd/base/error.hpp"
#include "maskedkd/cli/expanded_path.hpp"

#include <boost/program_options.hpp>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <sstream>
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

std::string bool_text(bool value) { return value ? "true" : "false"; }

template <typename T>
T parse_number(const std::string& name, const std::string& text) {
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
    const char* kind = !std::is_integral_v<T> ? "a number"
                       : std::is_signed_v<T>  ? "a whole number"
                                              : "a whole number >= 0";
    throw usage_error(fmt::format("--{}: '{}' is not {}", name, text, kind), "");
  }
  return value;
}

}  // namespace

bool is_bool_word(const std::string& text) { return is_one_of(text, kTrue) || is_one_of(text, kFalse); }

void CommandLine::State::add(const std::string& flag, const std::string& description, OnResume on_resume,
                             Option option) {
  const std::size_t blank = std::min(flag.find(' '), flag.size());
  option.name = flag.substr(0, blank);
  option.kind = blank < flag.size() ? flag.substr(blank + 1) : option.kind;
  option.description = description;
  option.group = groups.size() - 1;
  option.on_resume = on_resume;
  options.push_back(std::move(option));
}

CommandLine::CommandLine(std::string program, std::string purpose, std::string example)
    : state_(std::make_unique<State>()) {
  state_->program = std::move(program);
  state_->purpose = std::move(purpose);
  state_->example = std::move(example);
}

CommandLine::~CommandLine() = default;

CommandLine& CommandLine::group(const std::string& title) {
  state_->groups.push_back(title);
  return *this;
}

template <typename T>
CommandLine& CommandLine::option(const std::string& flag, T& value, const std::string& description,
                                 OnResume on_resume) {
  const std::string name = flag.substr(0, flag.find(' '));
  State::Option option;
  if constexpr (std::is_same_v<T, bool>) {
    option.is_switch = true;
    option.text = bool_text(value);
    option.assign = [&value, name](const std::string& text) {
      if (!is_bool_word(text)) {
        throw usage_error(fmt::format("--{}: '{}' is neither true nor false", name, text), "");
      }
      value = is_one_of(text, kTrue);
      return bool_text(value);
    };
  } else if constexpr (std::is_arithmetic_v<T>) {
    option.kind = std::is_integral_v<T> ? "N" : "NUMBER";
    option.text = fmt::format("{}", value);
    option.assign = [&value, name](const std::string& text) {
      value = parse_number<T>(name, text);
      return fmt::format("{}", value);
    };
  } else if constexpr (std::is_same_v<T, std::filesystem::path>) {
    option.kind = "PATH";
    option.is_path = true;
    option.text = value.string();
    option.assign = [&value, name](const std::string& text) {
      value = expanded_path("--" + name, text);
      return value.string();
    };
  } else if constexpr (std::is_same_v<T, std::vector<std::filesystem::path>>) {
    option.kind = "PATH...";
    option.is_list = option.is_path = true;
    option.assign = [&value, name](const std::string& text) {
      value.clear();
      std::istringstream lines(text);
      for (std::string line; std::getline(lines, line);) {
        value.push_back(expanded_path("--" + name, line));
      }
      return text;
    };
  } else {
    option.kind = "TEXT";
    option.text = value;
    option.assign = [&value](const std::string& text) { return value = text; };
  }
  state_->add(flag, description, on_resume, std::move(option));
  return *this;
}

template CommandLine& CommandLine::option(const std::string&, std::string&, const std::string&, OnResume);
template CommandLine& CommandLine::option(const std::string&, std::filesystem::path&, const std::string&, OnResume);
template CommandLine& CommandLine::option(const std::string&, std::vector<std::filesystem::path>&, const std::string&,
                                          OnResume);
template CommandLine& CommandLine::option(const std::string&, int&, const std::string&, OnResume);
template CommandLine& CommandLine::option(const std::string&, std::int64_t&, const std::string&, OnResume);
template CommandLine& CommandLine::option(const std::string&, std::uint64_t&, const std::string&, OnResume);
template CommandLine& CommandLine::option(const std::string&, double&, const std::string&, OnResume);
template CommandLine& CommandLine::option(const std::string&, bool&, const std::string&, OnResume);

CommandLine& CommandLine::option(const std::string& flag, const std::string& default_text,
                                 const std::string& description, std::function<void(const std::string&)> parse,
                                 OnResume on_resume) {
  State::Option option;
  option.text = default_text;
  option.assign = [parse = std::move(parse)](const std::string& text) {
    parse(text);
    return text;
  };
  state_->add(flag, description, on_resume, std::move(option));
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
  option("config FILE", state_->config_path, "file with `key = value` lines of these options; the command line wins");
  bool wants_help = false;
  option("help", wants_help, "print this");

  const std::vector<std::string> arguments = state_->take_words(argc, argv);
  po::variables_map values;
  po::options_description everything;
  for (const auto& option : state_->options) {
    auto* value = po::value<std::string>();
    if (option.is_switch) {
      value->implicit_value("true");
    }
    everything.add_options()(option.name.c_str(), value);
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
  // Defaults are assigned too, as they may be words; an empty one leaves the variable as it is.
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

OptionTexts CommandLine::resolved() const {
  OptionTexts result;
  for (const auto& option : state_->options) {
    if (option.name != "help" && option.name != "config") {
      result.push_back({option.name, option.text, option.on_resume});
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
