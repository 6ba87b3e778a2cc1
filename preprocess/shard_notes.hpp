// What a packing leaves beside each finished shard until index.json is written: `.packed-shard-00017.json`, the shard's
// entry of the index and its counts. A later start trusts a shard whose bytes still have the SHA-256 in its note, and
// HDF5 never has to look at a file that may be damaged.
#pragma once

#include "maskedkd/shards/shard.hpp"

#include <filesystem>
#include <map>
#include <optional>

namespace maskedkd {

struct ShardNote {
  ShardIndexEntry entry;
  std::map<std::int64_t, std::int64_t> class_counts;  // of the classes that it has
};

ShardNote make_note(ShardIndexEntry entry, const std::vector<std::int64_t>& class_counts);
void write_note(const std::filesystem::path& directory, const std::string& set_id, const ShardNote& note);
// Nothing where there is no note, another set's, or the shard is not, byte for byte, what the note says.
std::optional<ShardNote> read_note_of_whole_shard(const std::filesystem::path& directory, const std::string& set_id,
                                                  std::int64_t shard, std::int64_t num_classes);
bool is_note_name(const std::string& name);
void remove_notes(const std::filesystem::path& directory);

}  // namespace maskedkd
