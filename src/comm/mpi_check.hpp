// The throwing wrapper around MPI's return codes, and the splitting of buffers that MPI's int counts require.
#pragma once

#include "maskedkd/base/error.hpp"

#include <mpi.h>

#include <algorithm>
#include <cstdint>
#include <source_location>
#include <string>

namespace maskedkd {

inline void check_mpi(int code, const char* call, std::source_location where = std::source_location::current()) {
  if (code != MPI_SUCCESS) {
    char text[MPI_MAX_ERROR_STRING];
    int length = 0;
    MPI_Error_string(code, text, &length);
    int kind = MPI_ERR_UNKNOWN;
    MPI_Error_class(code, &kind);
    // Caused by a broken link or a dead rank, not by a wrong argument: another start may succeed.
    const bool is_transient = kind == MPI_ERR_OTHER || kind == MPI_ERR_INTERN || kind == MPI_ERR_UNKNOWN;
    throw Error(fmt::format("{} failed: {}", call, std::string(text, length)), "look at the other ranks' messages",
                is_transient ? ExitCode::requeue : ExitCode::failure, where);
  }
}

// Calls call(offset, count) for each chunk of a buffer: MPI counts elements in an int, so longer buffers are divided.
inline constexpr std::int64_t kMaxMpiCount = std::int64_t{1} << 28;
template <typename Call>
void for_each_chunk(std::int64_t length, Call&& call, std::int64_t chunk = kMaxMpiCount) {
  for (std::int64_t offset = 0; offset < length; offset += chunk) {
    call(offset, static_cast<int>(std::min(chunk, length - offset)));
  }
}

}  // namespace maskedkd
