// Writes one shard record by record, in a few MB of memory whatever its size: the records go straight to where the
// finished file has them, the tables follow, HDF5 sees the frame alone. The digests of index.json come along the way,
// so that nothing is read again where the shard turns out as it was announced.
#pragma once

#include "maskedkd/io/digest.hpp"
#include "maskedkd/io/posix.hpp"
#include "maskedkd/shards/shard.hpp"

#include <optional>

namespace maskedkd {

// What will be appended, where it is known: only the speed depends on it.
struct ShardForecast {
  std::uint64_t num_records = 0;
  std::uint64_t num_bytes = 0;
  std::uint64_t num_name_bytes = 0;
};

class ShardWriter {
 public:
  // described: a Shard without records: encoding, set_id, shard_index, num_shards, class_names. Throws Error.
  ShardWriter(std::filesystem::path path, Shard described, const std::optional<ShardForecast>& forecast = std::nullopt);
  ShardWriter(const ShardWriter&) = delete;
  ShardWriter& operator=(const ShardWriter&) = delete;
  ~ShardWriter();  // removes the temporary file unless finished

  // name: "" for none, of all records or of none. Throws Error.
  void append(std::span<const std::uint8_t> record, std::int64_t label, const RecordShape& shape,
              std::string_view name);
  // Writes the tables, syncs, renames. Throws Error; no shard appears then.
  ShardIndexEntry finish();
  const Shard& tables() const noexcept { return tables_; }

 private:
  std::filesystem::path path_, temporary_;
  Shard tables_;
  FileDescriptor file_;
  std::uint64_t bytes_offset_ = 0;
  std::vector<std::uint8_t> foreseen_head_;  // the file's beginning if the forecast comes true
  Sha256 digest_;                            // of it and of the records after it
  std::uint64_t synced_ = 0;                 // the disk was told to begin with the records up to here
  bool finished_ = false;
};

}  // namespace maskedkd
