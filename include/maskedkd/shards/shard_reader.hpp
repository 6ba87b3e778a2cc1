// Reads records of a packed set. Opening validates every shard against the index and its own metadata through HDF5
// once; after that a record is one positioned read at a known file offset, and a checksum: no HDF5 call, no lock, any
// thread.
#pragma once

#include "maskedkd/base/error.hpp"
#include "maskedkd/shards/shard.hpp"

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace maskedkd {

// One record is damaged; the rest of the set may be good. Anything else that goes wrong is any other Error.
class BadRecord : public Error {
 public:
  using Error::Error;
};

class ShardSet {
 public:
  // Throws Error (usage) in one line for: no directory, no index, a missing, truncated or foreign shard (another
  // set_id, another size), wrong dtypes or shapes, offsets that go back or past the end, labels outside the classes.
  // on_shard: called after each shard, for there may be thousands on a slow disk.
  explicit ShardSet(const std::filesystem::path& directory, const std::function<void()>& on_shard = {});
  ShardSet(ShardSet&&) noexcept;
  ~ShardSet();

  std::int64_t num_records() const noexcept;
  std::int64_t num_classes() const noexcept;
  const std::vector<std::string>& class_names() const noexcept;
  RecordEncoding encoding() const noexcept;
  const std::string& set_id() const noexcept;
  const std::filesystem::path& directory() const noexcept;

  std::size_t num_shards() const noexcept;
  const ShardIndexEntry& shard(std::size_t shard) const;

  // Record 0 <= index < num_records(), shards in order. All thread-safe. Reading is patient with a file system that
  // fails for some seconds (EIO, ESTALE, ...); then, and where the file is gone, it throws Error. Throws BadRecord,
  // with shard and record, where the checksum differs or the shard ends before.
  Record read(std::int64_t index) const;
  void read(std::int64_t index, Record& record) const;  // the same, reusing the record's memory
  void will_need(std::int64_t index) const;             // readahead, where the system does it
  // "train/shard-00003.h5, record 17 (ant/1.jpg)", with the file that it came from where the shard says so. Slow:
  // reads.
  std::string describe(std::int64_t index) const;

  // Bytes of a shard's file, wherever it is read from; as patient as read().
  void read_bytes(std::size_t shard, std::uint64_t offset, std::span<std::uint8_t> bytes) const;
  // From now on the shard is read from this copy of it. Where the copy turns out damaged or gone, it is the original
  // again. For shards/staging.hpp.
  void use_copy(std::size_t shard, const std::filesystem::path& copy) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace maskedkd
