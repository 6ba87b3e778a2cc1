// This machine's name, for messages and for names of files that several machines write into one folder.
#pragma once

#include <unistd.h>

#include <array>
#include <string>

namespace maskedkd {

inline std::string host_name() {
  std::array<char, 256> name{};
  gethostname(name.data(), name.size() - 1);
  return name.data();
}

}  // namespace maskedkd
