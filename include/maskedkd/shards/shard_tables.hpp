// Opening one shard of a set: what every reader of a set holds it to, the trainer and the commands that look after sets
// alike, so that none of them passes what another refuses.
#pragma once

#include "maskedkd/shards/shard.hpp"

#include <filesystem>

namespace maskedkd {

struct ShardTables {
  std::filesystem::path path;
  Shard tables;  // without the records' bytes and the names of their files
  std::uint64_t bytes_offset = 0;
};

// Compares the file with the index before HDF5 sees it, then the tables with the index. Throws Error that names the
// shard: missing, another size, damaged, another set's, another place's, at odds with the index.
ShardTables open_shard_tables(const std::filesystem::path& directory, const ShardIndex& index, std::size_t position);

// What all shards hold together is what the index says. Throws Error (usage).
void check_set_counts(const std::filesystem::path& directory, const ShardIndex& index, std::int64_t num_records,
                      const std::vector<std::int64_t>& class_counts);

}  // namespace maskedkd
