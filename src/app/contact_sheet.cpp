#include "maskedkd/app/contact_sheet.hpp"

#include "maskedkd/base/error.hpp"

#include <algorithm>

namespace maskedkd {
namespace {

constexpr int kSmallestEdge = 112;  // pixels
constexpr int kGap = 6;             // pixels between groups, half of that within one
constexpr std::uint8_t kBackground = 255;

}  // namespace

ContactSheet::ContactSheet(int num_groups, int images_per_group, int groups_per_row, int edge)
    : images_per_group_(images_per_group),
      groups_per_row_(groups_per_row),
      edge_(edge),
      factor_((kSmallestEdge + edge - 1) / edge) {
  const int cell = edge_ * factor_ + kGap;
  sheet_.height = (num_groups + groups_per_row_ - 1) / groups_per_row_ * cell + kGap;
  sheet_.width = std::min(num_groups, groups_per_row_) * (images_per_group_ * cell + kGap) + kGap;
  sheet_.pixels.assign(static_cast<std::size_t>(sheet_.height) * static_cast<std::size_t>(sheet_.width) * 3,
                       kBackground);
}

void ContactSheet::put(int group, int position, std::span<const std::uint8_t> pixels) {
  const int cell = edge_ * factor_ + kGap;
  const int top = kGap + group / groups_per_row_ * cell;
  const int left = kGap + group % groups_per_row_ * (images_per_group_ * cell + kGap) + position * (cell - kGap / 2);
  for (int y = 0; y < edge_ * factor_; ++y) {
    std::uint8_t* out =
        &sheet_.pixels[(static_cast<std::size_t>(top + y) * static_cast<std::size_t>(sheet_.width) + left) * 3];
    for (int x = 0; x < edge_ * factor_; ++x) {
      const std::uint8_t* pixel = &pixels[(static_cast<std::size_t>(y / factor_) * edge_ + x / factor_) * 3];
      out = std::copy(pixel, pixel + 3, out);
    }
  }
}

void ContactSheet::write(const std::filesystem::path& path) const { write_png(path, sheet_); }

void check_png_name(const std::filesystem::path& path, std::string_view flag) {
  if (const auto ending = path.extension(); !ending.empty() && ending != ".png" && ending != ".PNG") {
    throw usage_error(fmt::format("--{} {} is not a PNG file", flag, path.string()),
                      "choose a name that ends with .png");
  }
}

}  // namespace maskedkd
