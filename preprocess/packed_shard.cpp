#include "preprocess/packed_shard.hpp"

#include "maskedkd/base/error.hpp"
#include "maskedkd/base/quoted_name.hpp"

namespace maskedkd {

std::string PackedShard::class_name(std::size_t record) const {
  return tables.class_names.at(static_cast<std::size_t>(tables.labels.at(record)));
}

std::string PackedShard::describe(std::size_t record) const {
  std::string text = fmt::format("record {}, class {}", record, quoted_name(class_name(record)));
  if (record < tables.names.size()) {
    text += ", " + printable_name(tables.names[record]);
  }
  return text;
}

PackedShard open_packed_shard(const std::filesystem::path& directory, const ShardIndex& index, std::size_t shard) {
  const ShardIndexEntry& entry = index.shards.at(shard);
  PackedShard opened;
  opened.path = directory / entry.name;
  const auto refuse = [&](const std::string& why) {
    return Error(fmt::format("{} {}", opened.path.string(), why),
                 "remove it if it is there, and start maskedkd_pack again with the same options");
  };
  std::error_code missing;
  const std::uint64_t size = std::filesystem::file_size(opened.path, missing);
  if (missing) {
    throw refuse(fmt::format("is not there ({})", missing.message()));
  }
  if (size != entry.size_bytes) {
    throw refuse(fmt::format("has {} bytes instead of {}: it was cut or replaced", size, entry.size_bytes));
  }
  if (frame_digest(opened.path, entry) != entry.frame_sha256) {
    throw refuse("has damaged tables, or belongs to another set");
  }
  opened.tables = read_shard_tables(opened.path, opened.bytes_offset);
  if (opened.tables.set_id != index.set_id || opened.tables.num_records() != entry.num_records ||
      opened.tables.class_names != index.class_names || opened.tables.encoding != index.encoding ||
      opened.bytes_offset != (entry.num_bytes > 0 ? entry.bytes_offset : opened.bytes_offset) ||
      opened.tables.offsets.back() != entry.num_bytes) {
    throw refuse("does not agree with the set's index");
  }
  opened.tables.names = read_record_names(opened.path, opened.tables.num_records());
  return opened;
}

}  // namespace maskedkd
