// Digests of a packed set, to compare it with another.
#pragma once

#include "maskedkd/io/digest.hpp"

#include <filesystem>
#include <map>
#include <string>

namespace maskedkd::testing {

// Name -> SHA-256 of every file of a set except the lock. Empty if the folder does not exist.
inline std::map<std::string, std::string> digests_of(const std::filesystem::path& directory) {
  std::map<std::string, std::string> digests;
  std::error_code missing;
  for (const auto& entry : std::filesystem::directory_iterator(directory, missing)) {
    if (const std::string name = entry.path().filename().string(); name != ".lock") {
      digests[name] = sha256_of_file(entry.path());
    }
  }
  return digests;
}

}  // namespace maskedkd::testing
