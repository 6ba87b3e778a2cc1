// Temporary names for files that are being written, and the removal of those that killed writers left behind. A name
// identifies its writer, so that nobody removes a file that another process, machine or container is writing.
#pragma once

#include <chrono>
#include <filesystem>
#include <string>

namespace maskedkd {

inline constexpr const char* kUnfinishedPrefix = ".tmp-";
// After so long without a write, a writer on another machine or in another container counts as dead.
inline constexpr std::chrono::hours kAbandonedAfter{1};

// Identifies this process in the name of a file (letters, digits, dots); different at each call.
std::string writer_tag();
// `.tmp-<name>-<tag>` in the same folder; different at each call.
std::filesystem::path unfinished_path(const std::filesystem::path& final_path);

// Removes the files that killed writers left in `parent`, into which others may be writing at this moment: those whose
// writer is dead (base/process.hpp), or runs elsewhere and has not written for kAbandonedAfter by the file system's own
// clock. Files whose names have no writer's tag belong to other programs and stay.
void sweep_abandoned(const std::filesystem::path& parent);

}  // namespace maskedkd
