// Runs maskedkd_pack as a user does.
#pragma once

#include "support/digests.hpp"
#include "support/process.hpp"

#include <filesystem>
#include <string>
#include <vector>

namespace maskedkd::testing {

inline std::filesystem::path reference_path(const std::string& name) {
  return std::filesystem::path(MASKEDKD_REFERENCE_DIR) / name;
}

// ranks 0: without mpiexec.
inline std::vector<std::string> pack_command(int ranks, const std::vector<std::string>& arguments) {
  std::vector<std::string> command;
  if (ranks > 0) {
    command = {MASKEDKD_MPIEXEC, "-n", std::to_string(ranks)};
  }
  command.push_back(std::string(MASKEDKD_BIN_DIR) + "/maskedkd_pack");
  command.insert(command.end(), arguments.begin(), arguments.end());
  return command;
}

inline ProcessResult run_pack(int ranks, const std::vector<std::string>& arguments) {
  return run_process(pack_command(ranks, arguments));
}

}  // namespace maskedkd::testing
