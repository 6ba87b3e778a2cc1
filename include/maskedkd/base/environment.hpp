// Variables of the environment, for places where an empty variable means the same as one that is not set.
#pragma once

#include <cstdlib>
#include <string>

namespace maskedkd {

// Empty where the variable is not set.
inline std::string environment_variable(const std::string& name) {
  const char* value = std::getenv(name.c_str());
  return value != nullptr ? value : "";
}

}  // namespace maskedkd
