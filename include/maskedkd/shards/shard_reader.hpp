// Reads records of a packed set. Opening the set validates every shard once, against the index and through HDF5. After
// that, reading a record is one positioned read at a known offset of the file and a checksum: any thread can do it, it
// takes no lock and calls no HDF5 function.
#pragma once

#include "maskedkd/base/error.hpp"
#include "maskedkd/shards/shard.hpp"

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace maskedkd {

// One record is damaged; the rest of the set may be intact. Every other failure is another kind of Error.
class BadRecord : public Error {
 public:
  using Error::Error;
};

class ShardSet {
 public:
  // Throws Error (usage) of one line for a missing directory or index; a missing or truncated shard, or one of another
  // set; wrong dtypes or shapes; offsets that decrease or lie past the end; labels outside the classes.
  // on_shard: called after each shard, as there may be thousands on a slow disk.
  explicit ShardSet(const std::filesystem::path& directory, const std::function<void()>& on_shard = {});
  // The same set in another process, from to_bytes() of the first: opens no file before a record is read, as a thousand
  // processes that each validate every shard would keep a file system busy. directory: where this process finds it.
  // Throws Error (usage) where it does not.
  static ShardSet from_bytes(const std::filesystem::path& directory, std::string_view bytes);
  std::string to_bytes() const;  // some 32 bytes a record; for the same program on a machine of the same kind
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

  // Record 0 <= index < num_records(), in the order of the shards. All are thread-safe. A read that fails for a reason
  // that may pass (EIO, ESTALE, ...) is repeated for some seconds before it throws Error; a missing file is an Error at
  // once. Throws BadRecord, which names shard and record, where the checksum differs or the shard ends too early.
  Record read(std::int64_t index) const;
  void read(std::int64_t index, Record& record) const;  // the same, reusing the record's memory
  void will_need(std::int64_t index) const;             // asks the system to read ahead
  // "train/shard-00003.h5, record 17 (ant/1.jpg)", with the file that it came from where the shard names it. Slow: it
  // reads the shard.
  std::string describe(std::int64_t index) const;

  // Bytes of a shard's file, from the original or the copy in use. Repeats failed reads as read() does.
  void read_bytes(std::size_t shard, std::uint64_t offset, std::span<std::uint8_t> bytes) const;
  // From now on the shard is read from this copy; from the original again once the copy proves damaged or missing. For
  // shards/staging.hpp.
  void use_copy(std::size_t shard, const std::filesystem::path& copy) const;

 private:
  struct State;
  explicit ShardSet(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace maskedkd
