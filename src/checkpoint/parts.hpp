// A checkpoint that several processes write: which file each one writes, and how writer 0 learns about the others'
// files. Internal to this module.
#pragma once

#include "manifest.hpp"
#include "maskedkd/checkpoint/checkpoint.hpp"

namespace maskedkd {

// "optimizer" of "optimizer-00002-of-00004"; a stem without such an end is its group.
std::string group_of_stem(const std::string& stem);

// The folder that all writers of one save write into.
std::filesystem::path unfinished_folder(const std::filesystem::path& staging_folder, const CheckpointContent& content);

// Removes what earlier saves have left there: a writer may have been still writing when the others gave up.
void remove_other_attempts(const std::filesystem::path& staging_folder, const std::filesystem::path& kept);

// Writes and syncs one of the content's files. Returns its entry in the manifest.
ManifestFile write_group(const std::filesystem::path& folder, const std::string& stem,
                         const CheckpointContent& content);

// Waits until the writer of every stem has left a note beside its file, adds the files to the manifest and removes the
// notes. Throws Error where it was cancelled.
void collect_parts(const std::filesystem::path& folder, const std::set<std::string>& stems,
                   const std::atomic<bool>* cancelled, Manifest& manifest);

}  // namespace maskedkd
