// Which image goes into which shard: a pure function of the records' sizes and the options, so that it is the same on
// every rank and whenever a packing is continued.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace maskedkd {

struct PlanOptions {
  bool shuffle = true;
  std::uint64_t seed = 0;
  std::uint64_t shard_bytes = std::uint64_t{256} << 20;  // of records; exceeded only by a single larger record
  std::int64_t records_per_shard = 0;                    // where not 0, replaces shard_bytes
  std::string identity() const;
};

struct PackPlan {
  std::vector<std::uint32_t> order;       // numbers of the source's images, in the order of the records
  std::vector<std::int64_t> first_image;  // position in `order` of each shard's first image; then the number of images
  std::int64_t num_shards() const { return static_cast<std::int64_t>(first_image.size()) - 1; }
};

// record_bytes: of each of the source's images. Throws Error (usage).
PackPlan make_plan(std::span<const std::uint64_t> record_bytes, const PlanOptions& options);

// "256MiB", "1.5 GiB", "300000": bytes. Throws Error (usage).
std::uint64_t parse_size(const std::string& text);
// For messages: 256 MiB -> "268.4 MB".
std::string size_text(double bytes);

}  // namespace maskedkd
