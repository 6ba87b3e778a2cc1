#include "maskedkd/app/mask_sheet.hpp"

#include "maskedkd/app/contact_sheet.hpp"
#include "maskedkd/base/error.hpp"
#include "maskedkd/data/batch.hpp"
#include "maskedkd/data/loader.hpp"
#include "maskedkd/distill/teacher_view.hpp"

#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <span>
#include <vector>

namespace maskedkd {
namespace {

constexpr int kPairsPerRow = 4;
constexpr int kDimming = 6;  // dimmed patches keep 1 / kDimming of their contrast

// A copy of the image in which the patches that are not kept are dimmed.
std::vector<std::uint8_t> dimmed(std::span<const std::uint8_t> pixels, int edge, int patch,
                                 const std::vector<bool>& kept) {
  std::vector<std::uint8_t> result(pixels.begin(), pixels.end());
  for (int y = 0; y < edge; ++y) {
    for (int x = 0; x < edge; ++x) {
      if (!kept[static_cast<std::size_t>(y / patch * (edge / patch) + x / patch)]) {
        for (std::size_t i = 0; i < 3; ++i) {
          std::uint8_t& value = result[(static_cast<std::size_t>(y) * edge + x) * 3 + i];
          value = static_cast<std::uint8_t>(value / kDimming + 200 / kDimming);
        }
      }
    }
  }
  return result;
}

}  // namespace

at::Tensor load_spread_images(const ShardSet& set, const AugmentOptions& augment, std::int64_t num_images) {
  if (num_images < 1) {
    throw usage_error(fmt::format("--mask-images {} must be at least 1", num_images));
  }
  const std::int64_t count = std::min(num_images, set.num_records());
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
  return loader.next()->staged.views.pixels;
}

void write_mask_sheet(const Vit& student, at::Device device, const at::Tensor& pixels,
                      const MaskSheetOptions& options) {
  const at::NoGradGuard no_grad;
  const auto count = static_cast<int>(pixels.size(0));
  VitForward how;
  how.want_class_attention = true;
  const at::Tensor attention = student.forward(normalised_images(pixels, device), how).class_attention;  // [B, N]
  MaskOptions mask;
  mask.keep = options.keep;
  const std::int64_t grid = student.options().grid_size();
  const at::Tensor chosen =
      TeacherView(mask, /*num_epochs=*/1, grid, grid).choose(0, {attention.cpu(), {}, {}});  // [B, K]

  const int edge = student.options().input_size;
  const int patch = student.options().patch_size;
  ContactSheet sheet(count, /*images_per_group=*/2, kPairsPerRow, edge);
  for (int i = 0; i < count; ++i) {
    std::vector<bool> is_kept(static_cast<std::size_t>(grid * grid), !chosen.defined());
    for (std::int64_t k = 0; chosen.defined() && k < chosen.size(1); ++k) {
      is_kept[static_cast<std::size_t>(chosen[i][k].item<std::int64_t>())] = true;
    }
    const std::span<const std::uint8_t> image(pixels[i].const_data_ptr<std::uint8_t>(),
                                              static_cast<std::size_t>(edge) * edge * 3);
    sheet.put(i, 0, image);
    sheet.put(i, 1, dimmed(image, edge, patch, is_kept));
  }
  sheet.write(options.output);
}

}  // namespace maskedkd
