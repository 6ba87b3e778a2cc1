// Reads records of a packed set. Opening validates every shard against the index and its own metadata through HDF5
// once; after that a record is one positioned read at a known file offset, and a checksum: no HDF5 call, no lock, any
// thread.
#pragma once

#include "maskedkd/images/shard.hpp"

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

namespace maskedkd {

class ShardSet {
 public:
  // Throws Error (usage) in one line for: no directory, no index, a missing, truncated or foreign shard (another
  // set_id, another size), wrong dtypes or shapes, offsets that go back or past the end, labels outside the classes.
  explicit ShardSet(const std::filesystem::path& directory);
  ShardSet(ShardSet&&) noexcept;
  ~ShardSet();

  std::int64_t num_records() const noexcept;
  std::int64_t num_classes() const noexcept;
  const std::vector<std::string>& class_names() const noexcept;
  RecordEncoding encoding() const noexcept;
  const std::string& set_id() const noexcept;
  const std::filesystem::path& directory() const noexcept;

  // Record 0 <= index < num_records(), shards in order. Thread-safe. Throws Error naming shard and record when it can't
  // be read or its checksum differs.
  Record read(std::int64_t index) const;
  std::string describe(std::int64_t index) const;  // "train/shard-00003.h5, record 17"

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace maskedkd
