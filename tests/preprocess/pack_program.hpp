// maskedkd_pack as a user starts it, and what it leaves in a folder.
#pragma once

#include "maskedkd/io/digest.hpp"
#include "support/process.hpp"

#include <filesystem>
#include <map>
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

// Name -> SHA-256 of every file of a set; the lock stays behind and is no part of it.
inline std::map<std::string, std::string> digests_of(const std::filesystem::path& directory) {
  std::map<std::string, std::string> digests;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    if (const std::string name = entry.path().filename().string(); name != ".lock") {
      digests[name] = sha256_of_file(entry.path());
    }
  }
  return digests;
}

}  // namespace maskedkd::testing
