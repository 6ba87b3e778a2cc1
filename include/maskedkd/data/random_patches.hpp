// Random orders of an image's patches. B images, N patches, K of them seen.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace maskedkd {

class PhiloxStream;

// scores: [B, N] float32 on the CPU. Makes each row a uniformly random permutation of 0 to N - 1, as a function of the
// stream alone.
void draw_random_scores(PhiloxStream& random, const at::Tensor& scores);

// PatchDropout (Liu et al., WACV 2023) with a rate that is uniform between 0 and patch_drop < 1, so that the model
// learns to use any number of patches: K, at least 1 and the same for all images of a micro-batch, as they form one
// tensor.
std::int64_t draw_num_seen(PhiloxStream& random, std::int64_t num_patches, double patch_drop);

// seen: [B, K] int64 on the CPU. Makes each row K different ones of num_patches.
void draw_seen_patches(PhiloxStream& random, std::int64_t num_patches, const at::Tensor& seen);

}  // namespace maskedkd
