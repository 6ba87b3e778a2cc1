// Names of what is being written, and who may sweep what killed writers left under such names. The name tells its
// writer, so that nobody removes what another process, machine or container is at work on.
#pragma once

#include <chrono>
#include <filesystem>
#include <string>

namespace maskedkd {

inline constexpr const char* kUnfinishedPrefix = ".tmp-";
// Of a writer that nobody can look at: after so long without a write it counts as dead.
inline constexpr std::chrono::hours kAbandonedAfter{1};

// This process as a part of a file's name (letters, digits, dots), another one at each call.
std::string writer_tag();
// `.tmp-<name>-<tag>` beside its place. Of this call only.
std::filesystem::path unfinished_path(const std::filesystem::path& final_path);

// Removes what killed writers left in `parent`. Only for the one process that holds the directory for certain: by a
// lease.
void sweep_unfinished(const std::filesystem::path& parent);

// The same for a directory that others may write into at this moment: only files whose writer is dead
// (base/process.hpp), or can't be looked at and has not written for kAbandonedAfter, by the file system's own clock.
// Names without a writer's tag are another program's and stay.
void sweep_abandoned(const std::filesystem::path& parent);

}  // namespace maskedkd
