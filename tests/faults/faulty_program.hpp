// A program of build/bin with the library of faults in front of it.
#pragma once

#include "faults/faulty_child.hpp"
#include "support/process.hpp"

#include <filesystem>
#include <string>
#include <vector>

namespace maskedkd::testing {

struct ProgramEnd {
  int exit_code = 0;  // 137: killed
  std::string output;
  std::uint64_t calls = 0, fired = 0;
  std::string call;  // the first that was touched, and its path
};

// Calls below `root` count; log: where they are recorded, if at all.
ProgramEnd run_faulty_program(const std::vector<std::string>& command, const std::filesystem::path& root,
                              const FaultPoint& point, const std::filesystem::path& log = {});

// The lines that are errors.
std::vector<std::string> error_lines(const std::string& output);

}  // namespace maskedkd::testing
