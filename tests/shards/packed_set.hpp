// A small packed set of raw images, written by the classes that maskedkd_pack uses.
#pragma once

#include "maskedkd/io/posix.hpp"
#include "maskedkd/shards/shard_writer.hpp"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <vector>

namespace maskedkd::testing {

struct PackedSet {
  ShardIndex index;
  std::vector<Record> records;
};

// An image with sides of 1 to 20, some gray, and a label from 0 to num_classes - 1.
inline Record random_record(std::mt19937_64& random, std::int64_t num_classes) {
  Record record;
  record.shape = {static_cast<int>(random() % 20 + 1), static_cast<int>(random() % 20 + 1), random() % 3 == 0 ? 1 : 3};
  record.label = static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(num_classes));
  record.bytes.resize(static_cast<std::size_t>(record.shape.height) * record.shape.width * record.shape.channels);
  std::generate(record.bytes.begin(), record.bytes.end(), [&] { return static_cast<std::uint8_t>(random()); });
  return record;
}

inline PackedSet write_set(const std::filesystem::path& directory, const std::vector<Record>& records,
                           std::size_t per_shard, const std::vector<std::string>& class_names,
                           RecordEncoding encoding = RecordEncoding::raw, const std::string& set_id = "0123abcd") {
  std::filesystem::create_directories(directory);
  PackedSet set;
  set.records = records;
  set.index.encoding = encoding;
  set.index.set_id = set_id;
  set.index.class_names = class_names;
  set.index.class_counts.assign(class_names.size(), 0);
  const auto num_shards = static_cast<std::int64_t>((records.size() + per_shard - 1) / per_shard);
  for (std::int64_t i = 0; i < num_shards; ++i) {
    ShardWriter writer(directory / shard_name(i), {encoding, set_id, i, num_shards, class_names});
    const std::size_t begin = static_cast<std::size_t>(i) * per_shard;
    for (std::size_t k = begin; k < std::min(records.size(), begin + per_shard); ++k) {
      writer.append(records[k].bytes, records[k].label, records[k].shape, "");
      ++set.index.num_records;
      ++set.index.class_counts.at(static_cast<std::size_t>(records[k].label));
    }
    set.index.shards.push_back(writer.finish());
  }
  write_file_atomically(directory / kShardIndexName, serialise(set.index));
  return set;
}

inline PackedSet write_set(const std::filesystem::path& directory, std::size_t num_records, std::size_t per_shard,
                           std::uint64_t seed = 1) {
  std::mt19937_64 random(seed);
  std::vector<Record> records;
  for (std::size_t i = 0; i < num_records; ++i) {
    records.push_back(random_record(random, 3));
  }
  return write_set(directory, records, per_shard, {"ant", "bee", "cat"});
}

inline void flip_byte(const std::filesystem::path& path, std::uint64_t at, unsigned mask) {
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekg(static_cast<std::streamoff>(at));
  const int value = file.get();
  file.seekp(static_cast<std::streamoff>(at));
  file.put(static_cast<char>(static_cast<unsigned>(value) ^ mask));
}

}  // namespace maskedkd::testing
