// Packs a source into a set of shards (format: maskedkd/shards/shard.hpp). Which images a shard contains is decided
// beforehand (preprocess/pack_plan.hpp), so that the files do not depend on the numbers of ranks and threads: the
// shards are assigned to the ranks in turn, and each thread of a rank writes one at a time.
#pragma once

#include "preprocess/image_source.hpp"
#include "preprocess/pack_plan.hpp"

#include <filesystem>
#include <map>

namespace maskedkd {

class MpiSession;

struct PackOptions {
  std::filesystem::path output_dir;
  RecordOptions records;
  PlanOptions plan;
  int threads = 1;           // of each rank
  bool skip_broken = false;  // false: a broken image ends the packing
  void validate() const;     // throws Error (usage)
};

struct PackSummary {
  bool already_packed = false;  // the same set had been packed before: nothing was done
  std::int64_t num_images = 0;
  std::int64_t num_broken = 0;
  std::int64_t num_classes = 0;
  std::int64_t num_shards = 0;
  std::int64_t num_shards_kept = 0;         // of an interrupted run
  std::map<std::string, std::int64_t> odd;  // preprocess/oddity.hpp
  std::uint64_t size_bytes = 0;
  double seconds = 0;
};

// Collective. An interrupted packing is continued at the first shard that is not complete; index.json is written last:
// a folder without it is not a set. Throws Error: output_dir contains another set, another packer is writing there, an
// image is broken.
PackSummary pack(const MpiSession& session, const ImageSource& source, const PackOptions& options);

}  // namespace maskedkd
