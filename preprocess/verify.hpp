// Reads every byte of a set and reports what is damaged.
#pragma once

#include "maskedkd/shards/shard.hpp"

#include <atomic>
#include <filesystem>
#include <string>
#include <vector>

namespace maskedkd {

class MpiSession;

struct ShardFindings {
  std::vector<std::string> problems;       // a line each, which begins with the shard's path
  std::vector<std::int64_t> class_counts;  // of its records; empty where it can't be opened
  bool unreadable = false;                 // the system failed to read a part of it, which may be intact
};

// Names every bad record (shard, number, class, file); where the tables of a shard are damaged, only the shard. decode:
// requires also that each record is an image of its shape. bytes: is increased by the number of bytes that are read. No
// damage makes it throw.
ShardFindings verify_shard(const std::filesystem::path& directory, const ShardIndex& index, std::size_t shard,
                           bool decode, std::atomic<std::int64_t>& bytes);

// `maskedkd_pack verify DIR`. Collective: the shards are divided among the ranks. Returns 1 where anything is damaged.
int run_verify_command(const MpiSession& session, int argc, const char* const* argv);

}  // namespace maskedkd
