// A picture of what the teacher is shown: images of a packed set, each beside itself with the patches dimmed that the
// student attends to least.
#pragma once

#include "maskedkd/data/augment.hpp"
#include "maskedkd/data/shard_reader.hpp"
#include "maskedkd/model/vit.hpp"

#include <filesystem>

namespace maskedkd {

struct MaskSheetOptions {
  std::filesystem::path output;  // PNG
  std::int64_t keep = 0;         // patches; 0: half of them
  int num_images = 24;           // spread evenly over the set
};

// Not collective. Throws Error.
void write_mask_sheet(const Vit& student, at::Device device, const ShardSet& set, const AugmentOptions& augment,
                      const MaskSheetOptions& options);

}  // namespace maskedkd
