// Reads every byte of a set and names what is damaged.
#pragma once

#include "maskedkd/shards/shard.hpp"

#include <atomic>
#include <filesystem>
#include <string>
#include <vector>

namespace maskedkd {

class MpiSession;

struct ShardVerdict {
  std::vector<std::string> lines;          // what is wrong, a line each that begins with the shard's path
  std::vector<std::int64_t> class_counts;  // of its records; empty where it can't be opened
  bool unreadable = false;                 // the system did not give all of it: it may be whole
};

// Bad records are named one by one (shard, number, class, file); of a shard whose tables are damaged no record can be
// told. decode: each record must be an image of its shape too. bytes: grows by what was read. Throws nothing of the
// shard's doing.
ShardVerdict verify_shard(const std::filesystem::path& directory, const ShardIndex& index, std::size_t shard,
                          bool decode, std::atomic<std::int64_t>& bytes);

// `maskedkd_pack verify DIR`. Collective: the ranks share the shards. 1 where anything is damaged.
int run_verify_command(const MpiSession& session, int argc, const char* const* argv);

}  // namespace maskedkd
