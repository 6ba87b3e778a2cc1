// Runs a program of build/bin with the preloaded library of faults.
#pragma once

#include "faults/faulty_child.hpp"
#include "support/process.hpp"

#include <filesystem>
#include <string>
#include <vector>

namespace maskedkd::testing {

struct ProgramEnd {
  int exit_code = 0;  // 137 if it was killed
  std::string output;
  std::uint64_t calls = 0, fired = 0;
  std::string call;  // the first call with a fault, and its path
};

// Calls below `root` are numbered; log: the file to record them in, if not empty.
ProgramEnd run_faulty_program(const std::vector<std::string>& command, const std::filesystem::path& root,
                              const FaultPoint& point, const std::filesystem::path& log = {});

std::vector<std::string> error_lines(const std::string& output);

}  // namespace maskedkd::testing
