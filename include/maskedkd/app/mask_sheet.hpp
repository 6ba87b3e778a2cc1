// A picture of what the teacher sees: images of a packed set, each beside a copy in which the patches that the student
// attends to least are dimmed.
#pragma once

#include "maskedkd/augment/augment.hpp"
#include "maskedkd/distill/mask_options.hpp"
#include "maskedkd/model/vit.hpp"
#include "maskedkd/shards/shard_reader.hpp"

#include <filesystem>

namespace maskedkd {

struct MaskSheetOptions {
  std::filesystem::path output;            // PNG
  KeepCount keep = KeepCount::share(0.5);  // of the student's patches
  int num_images = 24;                     // spread evenly over the set
};

// Not collective. Throws Error.
void write_mask_sheet(const Vit& student, at::Device device, const ShardSet& set, const AugmentOptions& augment,
                      const MaskSheetOptions& options);

}  // namespace maskedkd
