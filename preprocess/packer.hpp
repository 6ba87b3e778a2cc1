// Packs a source into a set of shards (format: maskedkd/shards/shard.hpp). What a shard holds is decided beforehand
// (preprocess/pack_plan.hpp), so the files do not depend on ranks and threads: the ranks take the shards in turn, each
// of a rank's threads writes one at a time.
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
  bool was_there = false;  // the same set had been packed before: nothing was done
  std::int64_t num_images = 0;
  std::int64_t num_broken = 0;
  std::int64_t num_classes = 0;
  std::int64_t num_shards = 0;
  std::int64_t num_shards_kept = 0;         // of an interrupted run
  std::map<std::string, std::int64_t> odd;  // preprocess/oddity.hpp
  std::uint64_t size_bytes = 0;
  double seconds = 0;
};

// Collective. A packing that was interrupted goes on at the first shard that is not whole; index.json is written last,
// so a folder without it is no set. Throws Error: another set lies in output_dir, another packer works there, broken
// images.
PackSummary pack(const MpiSession& session, const ImageSource& source, const PackOptions& options);

}  // namespace maskedkd
