// One shard's tables, and through them its records: the only place that knows how a record is found in the file. The
// trainer's reader, the packer and the commands that inspect a set all open shards here, so that none of them accepts
// what another one refuses.
#pragma once

#include "maskedkd/io/posix.hpp"
#include "maskedkd/shards/shard.hpp"

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

namespace maskedkd {

class ShardTables {
 public:
  // Reads everything except the records' bytes and names through HDF5, and validates it. Compare the frame of a file
  // that may be damaged first, as open_shard() does. Throws Error (usage) that names the file and what is wrong with
  // it.
  explicit ShardTables(std::filesystem::path path);
  // What another process has read of that file in this way, without the names; reads nothing.
  ShardTables(std::filesystem::path path, RecordTables tables, std::uint64_t bytes_offset);

  const std::filesystem::path& path() const noexcept { return path_; }
  const ShardHeader& header() const noexcept { return header_; }
  const std::vector<std::int64_t>& class_counts() const noexcept { return class_counts_; }
  const RecordTables& tables() const noexcept { return tables_; }
  std::uint64_t bytes_offset() const noexcept { return bytes_offset_; }        // of /bytes in the file
  std::uint64_t num_bytes() const noexcept { return tables_.offsets.back(); }  // of /bytes

  // Record 0 <= i < num_records(). Offsets are those in the file.
  std::int64_t num_records() const noexcept { return static_cast<std::int64_t>(tables_.labels.size()); }
  std::uint64_t offset(std::size_t i) const { return bytes_offset_ + tables_.offsets[i]; }
  std::uint64_t num_bytes(std::size_t i) const { return tables_.offsets[i + 1] - tables_.offsets[i]; }
  std::int64_t label(std::size_t i) const { return tables_.labels[i]; }
  RecordShape shape(std::size_t i) const {
    return {tables_.shapes[3 * i], tables_.shapes[3 * i + 1], tables_.shapes[3 * i + 2]};
  }

  // Fills the record, reusing its memory. read_at(offset in the file, bytes) fills `bytes` or throws. Returns whether
  // the bytes have the checksum that they were packed with. Thread-safe where read_at is.
  template <typename ReadAt>
  bool read(std::size_t i, Record& record, const ReadAt& read_at) const {
    record.label = label(i);
    record.shape = shape(i);
    record.bytes.resize(num_bytes(i));
    read_at(offset(i), std::span<std::uint8_t>(record.bytes));
    return has_checksum(i, record.bytes);
  }
  // The same from `file`, which is path() opened for reading. Throws as read_exactly().
  bool read(std::size_t i, Record& record, const FileDescriptor& file) const;

  // For the commands that name records to people: reads the names of the records' files too. Throws as the constructor.
  void read_names();
  std::int64_t num_names() const noexcept { return static_cast<std::int64_t>(tables_.names.size()); }
  const std::string& class_name(std::size_t i) const;
  std::string describe(std::size_t i) const;  // "record 17, class 'tench', n01440764/x.JPEG"

  // For a reader of thousands of shards: frees the names and counts of the classes, which the set's index has too.
  void release_classes();

 private:
  bool has_checksum(std::size_t i, std::span<const std::uint8_t> bytes) const noexcept;

  std::filesystem::path path_;
  ShardHeader header_;
  std::vector<std::int64_t> class_counts_;
  RecordTables tables_;
  std::uint64_t bytes_offset_ = 0;
};

// Opens a member of a set: compares the file's size and frame with the index before HDF5 opens it, then its tables with
// the index. Throws Error (usage) that names the shard: missing, of another size, damaged, of another set or position,
// or in disagreement with the index. Throws FileError where the system can't read it.
ShardTables open_shard(const std::filesystem::path& directory, const ShardIndex& index, std::size_t position);

// Compares the totals over all shards with the index. Throws Error (usage).
void check_set_counts(const std::filesystem::path& directory, const ShardIndex& index, std::int64_t num_records,
                      const std::vector<std::int64_t>& class_counts);

}  // namespace maskedkd
