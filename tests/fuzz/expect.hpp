// Checks of all fuzz targets.
#pragma once

#include "maskedkd/base/error.hpp"

#include <cstdio>
#include <cstdlib>
#include <string>

namespace maskedkd::fuzz {

inline void expect(bool holds, const char* what) {
  if (!holds) {
    std::fprintf(stderr, "does not hold: %s\n", what);
    std::abort();  // libFuzzer keeps the input
  }
}

// Accepts that `work` returns or throws an Error (usage) with a message of one line of sensible length; any other
// exception ends the process.
template <typename Work>
void refused_in_one_line(const Work& work) {
  try {
    work();
  } catch (const Error& error) {
    const std::string message = error.what();
    expect(error.code() == ExitCode::usage, "a refusal is the input's fault");
    expect(message.size() < 1000 && message.find('\n') == std::string::npos, "a refusal is one line");
  }
}

}  // namespace maskedkd::fuzz
