// One shard of a set, checked as far as is cheap: against the index, and before HDF5 sees it. For the commands that
// look at a set; the trainer has images/shard_reader.hpp.
#pragma once

#include "maskedkd/images/shard.hpp"

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

// Throws Error naming the shard: missing, another size, damaged tables, at odds with the index.
PackedShard open_packed_shard(const std::filesystem::path& directory, const ShardIndex& index, std::size_t shard);

}  // namespace maskedkd
