#include "maskedkd/shards/shard_tables.hpp"

#include "maskedkd/base/error.hpp"
#include "maskedkd/io/posix.hpp"

namespace maskedkd {

ShardTables open_shard_tables(const std::filesystem::path& directory, const ShardIndex& index, std::size_t position) {
  const ShardIndexEntry& entry = index.shards.at(position);
  ShardTables shard;
  shard.path = directory / entry.name;
  const auto refuse = [&](const std::string& why, const char* hint = kMendShard) {
    return usage_error(fmt::format("{} {}", shard.path.string(), why), hint);
  };
  if (entry.name != shard_name(static_cast<std::int64_t>(position))) {
    throw refuse("is named in the index out of its turn");
  }
  std::error_code error;
  const std::uint64_t size = std::filesystem::file_size(shard.path, error);
  if (error == std::errc::no_such_file_or_directory) {
    throw refuse("is missing",
                 "copy it there, or start maskedkd_pack again with the same options: it packs what is missing");
  }
  if (error) {
    throw FileError("can't look at", shard.path, error.value());
  }
  if (size != entry.size_bytes) {
    throw refuse(fmt::format("has {} bytes instead of {}: it was cut or replaced", size, entry.size_bytes));
  }
  if (entry.bytes_offset > size || entry.num_bytes > size - entry.bytes_offset) {
    throw refuse("has no room for the records that the index puts there");
  }
  if (frame_digest(shard.path, entry) != entry.frame_sha256) {
    throw refuse("has damaged tables, or belongs to another set");
  }
  shard.tables = read_shard_tables(shard.path, shard.bytes_offset);
  if (shard.tables.set_id != index.set_id) {
    throw refuse("belongs to another set");
  }
  if (shard.tables.shard_index != static_cast<std::int64_t>(position) ||
      shard.tables.num_shards != static_cast<std::int64_t>(index.shards.size()) ||
      shard.tables.num_records() != entry.num_records || shard.tables.encoding != index.encoding ||
      shard.tables.class_names != index.class_names || shard.bytes_offset != entry.bytes_offset ||
      shard.tables.offsets.back() != entry.num_bytes) {
    throw refuse("does not agree with the set's index");
  }
  return shard;
}

void check_set_counts(const std::filesystem::path& directory, const ShardIndex& index, std::int64_t num_records,
                      const std::vector<std::int64_t>& class_counts) {
  if (num_records != index.num_records || class_counts != index.class_counts) {
    throw usage_error(
        fmt::format("{}: the shards hold other numbers of images than its index says", directory.string()), kMendIndex);
  }
}

}  // namespace maskedkd
