// The one error type. Every module throws it; only a program's main catches it, prints it with its rank and its hint,
// and ends the other ranks (cli/run_main.hpp). Job scripts act on the exit codes.
#pragma once

#include <fmt/format.h>

#include <source_location>
#include <stdexcept>
#include <string>
#include <utility>

namespace maskedkd {

enum class ExitCode : int {
  finished = 0,
  failure = 1,
  usage = 2,        // wrong options, configuration or input
  requeue = 85,     // stopped early with a checkpoint, to be started again
  no_requeue = 93,  // must not be started again: it would end the same way
};

// message: what is wrong and where, one line. hint: what to do about it, one line, may be empty.
class Error : public std::runtime_error {
 public:
  explicit Error(std::string message, std::string hint = {}, ExitCode code = ExitCode::failure,
                 std::source_location where = std::source_location::current())
      : std::runtime_error(std::move(message)), hint_(std::move(hint)), code_(code), where_(where) {}

  const std::string& hint() const noexcept { return hint_; }
  ExitCode code() const noexcept { return code_; }
  const std::source_location& where() const noexcept { return where_; }

 private:
  std::string hint_;
  ExitCode code_;
  std::source_location where_;
};

// An Error about the user's options or input (exit code 2).
inline Error usage_error(std::string message, std::string hint = {},
                         std::source_location where = std::source_location::current()) {
  return Error(std::move(message), std::move(hint), ExitCode::usage, where);
}

}  // namespace maskedkd
