// The file that a packing writes beside each finished shard until index.json is written: `.packed-shard-00017.json`,
// with the shard's entry of the index and its class counts. A packing that is continued keeps a shard whose bytes still
// have the SHA-256 in its note, so that HDF5 never opens a file that may be damaged.
#pragma once

#include "maskedkd/shards/shard.hpp"

#include <filesystem>
#include <map>
#include <optional>

namespace maskedkd {

struct ShardNote {
  ShardIndexEntry entry;
  std::map<std::int64_t, std::int64_t> class_counts;  // of the classes that occur in it
};

ShardNote make_note(ShardIndexEntry entry, const std::vector<std::int64_t>& class_counts);
void write_note(const std::filesystem::path& directory, const std::string& set_id, const ShardNote& note);
// nullopt where there is no note, or one of another set, or the shard does not have the SHA-256 in the note. Throws
// FileError where one of them can't be read.
std::optional<ShardNote> read_note_of_intact_shard(const std::filesystem::path& directory, const std::string& set_id,
                                                   std::int64_t shard, std::int64_t num_classes);
bool is_note_name(const std::string& name);
void remove_notes(const std::filesystem::path& directory);

}  // namespace maskedkd
