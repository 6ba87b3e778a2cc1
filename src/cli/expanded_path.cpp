#include "maskedkd/cli/expanded_path.hpp"

#include "maskedkd/base/environment.hpp"
#include "maskedkd/base/error.hpp"
#include "maskedkd/base/host_name.hpp"

#include <algorithm>
#include <regex>

namespace maskedkd {
namespace {

constexpr const char* kDollarSign = "write the path out; $$ stands for a dollar sign";

std::string variable(const std::string& what, const std::string& text, const std::string& name) {
  const std::string value = environment_variable(name);
  if (value.empty()) {
    throw usage_error(fmt::format("{}: '{}': {} is not set on host {}", what, text, name, host_name()),
                      fmt::format("set it there, or {}", kDollarSign));
  }
  return value;
}

std::string home(const std::string& what, const std::string& text) {
  const auto slash = std::min(text.find('/'), text.size());
  if (slash > 1) {
    throw usage_error(fmt::format("{}: '{}': the home folder of another user is not looked up", what, text),
                      fmt::format("write the path out; './{}' is a file of that name", text));
  }
  return variable(what, text, "HOME");
}

}  // namespace

std::string expanded_path(const std::string& what, const std::string& text) {
  static const std::regex known(R"(^\$(?:(\$)|([A-Za-z_]\w*)|\{([A-Za-z_]\w*)\}))");
  static const std::regex of_a_shell(R"(^\$[\w{(@*#?!-])");
  const bool at_home = text.starts_with('~');
  std::string result = at_home ? home(what, text) : "";
  for (auto rest = text.begin() + (at_home ? 1 : 0); rest != text.end();) {
    std::smatch found;
    if (std::regex_search(rest, text.end(), found, known)) {
      result += found[1].matched ? "$" : variable(what, text, found[2].matched ? found[2].str() : found[3].str());
      rest = found[0].second;
      continue;
    }
    if (std::regex_search(rest, text.end(), of_a_shell)) {
      throw usage_error(fmt::format("{}: '{}': only $NAME and ${{NAME}} are expanded", what, text), kDollarSign);
    }
    result += *rest++;
  }
  return result;
}

}  // namespace maskedkd
