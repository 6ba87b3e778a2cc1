// One shard of a set, opened as the trainer opens it (shards/shard_tables.hpp), with the names of its records' files.
// For the commands that look at a set.
#pragma once

#include "maskedkd/shards/shard.hpp"

#include <filesystem>

namespace maskedkd {

struct PackedShard {
  std::filesystem::path path;
  Shard tables;  // without the records' bytes; with the names of their files
  std::uint64_t bytes_offset = 0;

  std::string class_name(std::size_t record) const;
  // "record 17, class 'tench', n01440764/x.JPEG"
  std::string describe(std::size_t record) const;
};

// Throws as open_shard_tables().
PackedShard open_packed_shard(const std::filesystem::path& directory, const ShardIndex& index, std::size_t shard);

}  // namespace maskedkd
