#include "maskedkd/data/random_patches.hpp"

#include "maskedkd/base/philox.hpp"

#include <ATen/ops/empty.h>
#include <ATen/ops/topk.h>

#include <cmath>
#include <numeric>
#include <utility>

namespace maskedkd {

void draw_random_scores(PhiloxStream& random, const at::Tensor& scores) {
  const std::int64_t num_patches = scores.size(1);
  float* row = scores.mutable_data_ptr<float>();
  for (std::int64_t image = 0; image < scores.size(0); ++image, row += num_patches) {
    std::iota(row, row + num_patches, 0.0F);
    for (std::int64_t last = num_patches - 1; last > 0; --last) {  // Fisher and Yates's shuffle
      std::swap(row[last], row[random.below(static_cast<std::uint32_t>(last) + 1)]);
    }
  }
}

std::int64_t draw_num_seen(PhiloxStream& random, std::int64_t num_patches, double patch_drop) {
  return static_cast<std::int64_t>(std::ceil(static_cast<double>(num_patches) * (1 - patch_drop * random.uniform())));
}

void draw_seen_patches(PhiloxStream& random, std::int64_t num_patches, const at::Tensor& seen) {
  const at::Tensor scores = at::empty({seen.size(0), num_patches}, at::kFloat);
  draw_random_scores(random, scores);
  seen.copy_(std::get<1>(scores.topk(seen.size(1), 1, /*largest=*/true, /*sorted=*/false)));
}

}  // namespace maskedkd
