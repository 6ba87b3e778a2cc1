#include "maskedkd/app/mask_sheet.hpp"

#include "maskedkd/base/error.hpp"
#include "maskedkd/data/batch.hpp"
#include "maskedkd/distill/patch_selection.hpp"

#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <vector>

namespace maskedkd {
namespace {

constexpr int kSmallestEdge = 112;  // pixels; smaller images are enlarged by a whole factor
constexpr int kPairsPerRow = 4;
constexpr int kGap = 6;  // pixels
constexpr std::uint8_t kBackground = 255;
constexpr int kDimming = 6;  // a patch that is not kept has this fraction of its light

// One image of the batch at `left`, `top` of the sheet, with the patches dimmed where `kept` says so.
void draw(const std::uint8_t* pixels, int edge, int patch, const std::vector<bool>* kept, int factor, int top, int left,
          Image& sheet) {
  const int grid = edge / patch;
  for (int y = 0; y < edge * factor; ++y) {
    for (int x = 0; x < edge * factor; ++x) {
      const int row = y / factor, column = x / factor;
      const bool dim = kept != nullptr && !(*kept)[static_cast<std::size_t>(row / patch * grid + column / patch)];
      for (int channel = 0; channel < 3; ++channel) {
        const std::uint8_t value = pixels[(row * edge + column) * 3 + channel];
        sheet.pixels[(static_cast<std::size_t>(top + y) * static_cast<std::size_t>(sheet.width) +
                      static_cast<std::size_t>(left + x)) *
                         3 +
                     static_cast<std::size_t>(channel)] =
            dim ? static_cast<std::uint8_t>(value / kDimming + 200 / kDimming) : value;
      }
    }
  }
}

MicroBatch load_spread(const ShardSet& set, const AugmentOptions& augment, std::int64_t count) {
  BatchRequest request;
  for (std::int64_t i = 0; i < count; ++i) {
    request.indices.push_back(i * set.num_records() / count);
  }
  LoaderOptions loading;
  loading.training = false;
  loading.augment = augment;
  Loader loader(set, loading, [&request, given = false]() mutable -> std::optional<BatchRequest> {
    return std::exchange(given, true) ? std::nullopt : std::optional(request);
  });
  return *loader.next();
}

}  // namespace

void write_mask_sheet(const Vit& student, at::Device device, const ShardSet& set, const AugmentOptions& augment,
                      const MaskSheetOptions& options) {
  if (options.num_images < 1) {
    throw usage_error(fmt::format("--mask-images {} must be at least 1", options.num_images));
  }
  const at::NoGradGuard no_grad;
  const auto count = static_cast<int>(std::min<std::int64_t>(options.num_images, set.num_records()));
  const MicroBatch batch = load_spread(set, augment, count);
  VitForward how;
  how.want_class_attention = true;
  const std::int64_t patches = student.options().num_patches();
  const at::Tensor attention = student.forward(normalised_images(batch, device), how).class_attention;  // [B, N]
  const at::Tensor kept = select_patches(attention, options.keep.of(patches, "keep")).cpu();            // [B, K]

  const int edge = student.options().input_size;
  const int factor = (kSmallestEdge + edge - 1) / edge;
  const int cell = edge * factor + kGap;
  const int rows = (count + kPairsPerRow - 1) / kPairsPerRow;
  const int pairs = std::min(count, kPairsPerRow);
  Image sheet;
  sheet.height = rows * cell + kGap;
  sheet.width = pairs * (2 * cell + kGap) + kGap;  // a pair stands closer than pairs do
  sheet.pixels.assign(static_cast<std::size_t>(sheet.height) * static_cast<std::size_t>(sheet.width) * 3, kBackground);
  for (int i = 0; i < count; ++i) {
    std::vector<bool> is_kept(static_cast<std::size_t>(patches), false);
    for (std::int64_t k = 0; k < kept.size(1); ++k) {
      is_kept[static_cast<std::size_t>(kept[i][k].item<std::int64_t>())] = true;
    }
    const auto* pixels = batch.images[i].const_data_ptr<std::uint8_t>();
    const int top = kGap + i / kPairsPerRow * cell, left = kGap + i % kPairsPerRow * (2 * cell + kGap);
    const int patch = student.options().patch_size;
    draw(pixels, edge, patch, nullptr, factor, top, left, sheet);
    draw(pixels, edge, patch, &is_kept, factor, top, left + cell - kGap / 2, sheet);
  }
  write_png(options.output, sheet);
}

}  // namespace maskedkd
