#include "prepare_host.hpp"

#include <algorithm>

namespace maskedkd::kernel {
namespace {

bool erases(const Preparation& batch, int image, int y) {
  const PlannedErasure* const first = batch.erasures + std::int64_t{image} * batch.num_erasures;
  return std::any_of(first, first + batch.num_erasures,
                     [&](const PlannedErasure& box) { return y >= box.top && y < box.top + box.height; });
}

bool mixes(const Preparation& batch, int image, int y) {
  if (batch.image_shares == nullptr) {
    return false;
  }
  const std::int32_t* const box = batch.cut_boxes + std::int64_t{4} * image;
  return batch.image_shares[image] != 1.0F || (y >= box[0] && y < box[0] + box[2]);
}

template <bool may_erase, bool may_mix>
void prepare_row(PixelMaker<LastBlock>& maker, int size, int image, int y) {
  for (int x = 0; x < size; ++x) {
    maker.prepare<may_erase, may_mix>(image, y, x);
  }
}

}  // namespace

void prepare_rows_on_host(const Preparation& batch, std::int64_t first, std::int64_t last) {
  PixelMaker<LastBlock> maker(batch);
  for (std::int64_t row = first; row < last; ++row) {
    const int image = static_cast<int>(row / batch.size), y = static_cast<int>(row % batch.size);
    const bool mixes_row = mixes(batch, image, y);
    const bool erases_row = erases(batch, image, y) || (mixes_row && erases(batch, batch.num_images - 1 - image, y));
    const auto prepare = erases_row ? (mixes_row ? prepare_row<true, true> : prepare_row<true, false>)
                                    : (mixes_row ? prepare_row<false, true> : prepare_row<false, false>);
    prepare(maker, batch.size, image, y);
  }
}

void prepare_targets_on_host(const Preparation& batch) {
  for (int image = 0; image < batch.num_images; ++image) {
    for (int label = 0; label < batch.num_classes; ++label) {
      prepare_target(batch, image, label);
    }
  }
}

}  // namespace maskedkd::kernel
