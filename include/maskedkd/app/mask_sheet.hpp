// A picture of what the teacher sees: images, each beside a copy in which the patches that the student attends to least
// are dimmed.
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
  int num_images = 24;                     // of a packed set, spread evenly over it
};

// Images of the set as they are evaluated, [B, S, S, 3] uint8 on the CPU. Not collective. Throws Error.
at::Tensor load_spread_images(const ShardSet& set, const AugmentOptions& augment, std::int64_t num_images);

// Not collective. Throws Error.
void write_mask_sheet(const Vit& student, at::Device device, const at::Tensor& pixels, const MaskSheetOptions& options);

}  // namespace maskedkd
