#include "preprocess/packed_shard.hpp"

#include "maskedkd/base/error.hpp"
#include "maskedkd/base/quoted_name.hpp"
#include "maskedkd/shards/shard_tables.hpp"

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
  ShardTables tables = open_shard_tables(directory, index, shard);
  PackedShard opened{std::move(tables.path), std::move(tables.tables), tables.bytes_offset};
  opened.tables.names = read_record_names(opened.path, opened.tables.num_records());
  return opened;
}

}  // namespace maskedkd
