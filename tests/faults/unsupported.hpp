// What a file system can't do at all: every kind of call, with every errno that file systems answer it with.
#pragma once

#include "faults/faulty_child.hpp"
#include "faults/file_faults.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <string>
#include <vector>

namespace maskedkd::testing {

inline constexpr int kKernelNotSupported = 524;  // ENOTSUPP, which no header for programs has

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

// Nothing that these do is needed for what is promised.
inline bool must_work(const FaultPoint& point) {
  constexpr std::array kNotSupported = {EINVAL, EOPNOTSUPP, ENOSYS, ENOTTY, kKernelNotSupported};
  const bool unsupported = std::find(kNotSupported.begin(), kNotSupported.end(), point.reason) != kNotSupported.end();
  switch (point.n) {
    case FAULTS_SYNC_A_FOLDER:
      return unsupported || point.reason == EBADF || point.reason == EPERM || point.reason == EACCES;
    case FAULTS_SYNC_A_FILE:
      return unsupported;
    case FAULTS_MAKE_A_LINK:
      return unsupported || point.reason == EPERM;
    case FAULTS_OPEN_A_FOLDER:  // which is how it is listed, too
    case FAULTS_RENAME_A_FILE:
    case FAULTS_RENAME_A_FOLDER:
    case FAULTS_CHANGE_A_MODE:
      return false;
    default:
      return true;
  }
}

inline std::size_t num_warnings(const std::string& output) {
  std::size_t found = 0;
  for (std::size_t at = output.find(" warning "); at != std::string::npos; at = output.find(" warning ", at + 1)) {
    ++found;
  }
  return found;
}

}  // namespace maskedkd::testing
