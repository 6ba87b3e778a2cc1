// A checkpoint that several writers fill: which file is whose, and how writer 0 learns of the others' files. Internal
// to this module.
#pragma once

#include "manifest.hpp"
#include "maskedkd/checkpoint/checkpoint.hpp"

namespace maskedkd {

// "optimizer" of "optimizer-00002-of-00004"; a stem without such an end is its group.
std::string group_of_stem(const std::string& stem);

// Where all writers of one saving meet.
std::filesystem::path unfinished_folder(const std::filesystem::path& workshop, const CheckpointContent& content);

// What earlier savings have left there: a writer may have been at work still when the others gave up.
void remove_other_attempts(const std::filesystem::path& workshop, const std::filesystem::path& but);

// Writes and syncs one of the content's files; what the manifest says of it.
ManifestFile write_group(const std::filesystem::path& folder, const std::string& stem,
                         const CheckpointContent& content);

// Waits until every stem's writer has left its word beside the file, takes the words away, and adds the files. Throws
// Error where it was cancelled.
void collect_parts(const std::filesystem::path& folder, const std::set<std::string>& stems,
                   const std::atomic<bool>* cancelled, Manifest& manifest);

}  // namespace maskedkd
