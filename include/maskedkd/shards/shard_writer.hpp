// Writes one shard record by record, in a few MB of memory whatever its size: each record is written at its final
// offset, the tables follow, and HDF5 handles only the frame. The digests for index.json are computed along the way, so
// that the file need not be read again where the forecast of its size was right.
#pragma once

#include "maskedkd/io/digest.hpp"
#include "maskedkd/io/posix.hpp"
#include "maskedkd/shards/shard.hpp"

#include <optional>

namespace maskedkd {

// What will be appended, where it is known. A wrong forecast costs time, and changes nothing in the file.
struct ShardForecast {
  std::uint64_t num_records = 0;
  std::uint64_t num_bytes = 0;
  std::uint64_t num_name_bytes = 0;
};

class ShardWriter {
 public:
  // Creates the file under a temporary name beside `path`. Throws Error.
  ShardWriter(std::filesystem::path path, ShardHeader header,
              const std::optional<ShardForecast>& forecast = std::nullopt);
  ShardWriter(const ShardWriter&) = delete;
  ShardWriter& operator=(const ShardWriter&) = delete;
  ~ShardWriter();  // removes the temporary file unless finished

  // 0 <= label < number of classes. name: the file that the record came from, or "": all records have one or none.
  // Throws Error.
  void append(std::span<const std::uint8_t> record, std::int64_t label, const RecordShape& shape,
              std::string_view name);
  // Writes the tables, syncs the file and renames it. Returns its entry of the index, in which the caller fills in
  // `check` and `odd`. Throws Error; no shard appears then.
  ShardIndexEntry finish();
  const std::vector<std::int64_t>& class_counts() const noexcept { return class_counts_; }

 private:
  std::filesystem::path path_, temporary_;
  ShardHeader header_;
  RecordTables tables_;
  std::vector<std::int64_t> class_counts_;
  FileDescriptor file_;
  std::uint64_t bytes_offset_ = 0;
  std::vector<std::uint8_t> expected_head_;  // the bytes before the records, if the forecast is right
  Sha256 digest_;                            // of these and of the records after them
  std::uint64_t flushed_ = 0;                // the system was asked to write the records up to here to the disk
  bool finished_ = false;
};

}  // namespace maskedkd
