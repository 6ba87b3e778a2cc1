// Operations that a file system does not support: every kind of call, with every errno that file systems return for it.
#pragma once

#include "faults/faulty_child.hpp"
#include "faults/file_faults.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <sstream>
#include <string>
#include <vector>

namespace maskedkd::testing {

inline constexpr int kKernelNotSupported = 524;  // ENOTSUPP, which user-space headers do not define

inline std::vector<FaultPoint> unsupported_points() {
  std::vector<FaultPoint> all;
  for (int deed = 1; deed <= FAULTS_LAST_DEED; ++deed) {
    for (const int reason :
         {EINVAL, EOPNOTSUPP, ENOSYS, ENOTTY, EBADF, EPERM, EACCES, EXDEV, ENOLCK, EIO, EROFS, kKernelNotSupported}) {
      all.push_back({FAULTS_CANNOT, static_cast<std::uint64_t>(deed), reason});
    }
  }
  return all;
}

// Whether the promised result depends on this call.
inline bool must_work(const FaultPoint& point) {
  constexpr std::array kNotSupported = {EINVAL, EOPNOTSUPP, ENOSYS, ENOTTY, kKernelNotSupported};
  const bool unsupported = std::find(kNotSupported.begin(), kNotSupported.end(), point.reason) != kNotSupported.end();
  switch (point.n) {
    case FAULTS_SYNC_A_FOLDER:
      return unsupported || point.reason == EBADF || point.reason == EPERM || point.reason == EACCES;
    case FAULTS_SYNC_A_FILE:
      return unsupported;
    case FAULTS_MAKE_A_LINK:
      return point.reason != EIO;
    case FAULTS_OPEN_A_FOLDER:  // needed to list the folder
    case FAULTS_RENAME_A_FILE:
    case FAULTS_RENAME_A_FOLDER:
    case FAULTS_CHANGE_A_MODE:
      return false;
    default:
      return true;
  }
}

// Warnings about the file system; those about checkpoints that come faster than a slow disk takes them are not counted.
inline std::size_t num_warnings(const std::string& output) {
  std::size_t found = 0;
  std::istringstream lines(output);
  for (std::string line; std::getline(lines, line);) {
    const bool is_warning = line.find(" warning ") != std::string::npos;
    found += is_warning && line.find("as the previous one") == std::string::npos ? 1 : 0;
  }
  return found;
}

}  // namespace maskedkd::testing
