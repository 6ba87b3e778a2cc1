// Resampling in the arithmetic of PIL's 8-bit path, so that the pixels are equal to PIL's: antialiased convolution in a
// horizontal and a vertical pass, fixed-point weights of 22 bits, every pass rounded to 8 bits.
#include "maskedkd/base/error.hpp"
#include "maskedkd/codecs/image.hpp"
#include "resample_path.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

namespace maskedkd {
namespace {

// resample_quads.cpp processes 16 whole rows at a time, which for wider images takes too much memory.
constexpr int kWidestByQuads = 1 << 16;  // columns

}  // namespace

std::string to_string(Interpolation interpolation) {
  return interpolation == Interpolation::bilinear ? "bilinear" : "bicubic";
}

PixelBox pixels_needed(const PixelBox& box, int full_height, int full_width, const PixelBox& window,
                       Interpolation interpolation) {
  const auto [top, height] = needed_along(interpolation, box.height, full_height, window.top, window.height);
  const auto [left, width] = needed_along(interpolation, box.width, full_width, window.left, window.width);
  return {box.top + top, box.left + left, height, width};
}

void resample_portably(const ResampleSource& source, const ResampleWeights& across, const ResampleWeights& down,
                       std::uint8_t* out) {
  const int height = static_cast<int>(down.windows.size()), width = static_cast<int>(across.windows.size());
  const int first_column = across.first(), first_row = down.first(), num_rows = down.last() - first_row;
  const std::size_t row_bytes = static_cast<std::size_t>(width) * 3;
  std::vector<std::uint8_t> rows(num_rows * row_bytes);
  for (int y = 0; y < num_rows; ++y) {
    const std::uint8_t* from = source.pixels + y * source.row_bytes;
    std::uint8_t* row = &rows[y * row_bytes];
    for (int x = 0; x < width; ++x) {
      const auto [begin, length] = across.windows[x];
      const std::int32_t* weight = across.of(x);
      std::int32_t red = kWeightHalf, green = kWeightHalf, blue = kWeightHalf;
      for (int i = 0; i < length; ++i) {
        const std::uint8_t* pixel = from + static_cast<std::size_t>(begin - first_column + i) * 3;
        red += pixel[0] * weight[i];
        green += pixel[1] * weight[i];
        blue += pixel[2] * weight[i];
      }
      row[3 * x] = resampled_level(red);
      row[3 * x + 1] = resampled_level(green);
      row[3 * x + 2] = resampled_level(blue);
    }
  }
  std::vector<std::int32_t> sums(row_bytes);
  for (int y = 0; y < height; ++y) {
    const auto [begin, length] = down.windows[y];
    const std::int32_t* weight = down.of(y);
    std::fill(sums.begin(), sums.end(), kWeightHalf);
    for (int i = 0; i < length; ++i) {
      const std::uint8_t* row = &rows[(begin - first_row + i) * row_bytes];
      for (std::size_t x = 0; x < row_bytes; ++x) {
        sums[x] += row[x] * weight[i];
      }
    }
    std::transform(sums.begin(), sums.end(), out + y * row_bytes, resampled_level);
  }
}

void crop_and_resize_by(ResamplePath path, const ImageRegion& image, const PixelBox& box, int full_height,
                        int full_width, const PixelBox& window, Interpolation interpolation,
                        std::span<std::uint8_t> result) {
  const PixelBox needed = pixels_needed(box, full_height, full_width, window, interpolation);
  const std::vector<std::uint8_t>& pixels = image.part.pixels;
  ResampleSource source{};
  source.row_bytes = static_cast<std::size_t>(image.part.width) * 3;
  source.pixels = pixels.data() + (needed.top - image.top) * source.row_bytes +
                  static_cast<std::size_t>(needed.left - image.left) * 3;
  source.end = pixels.data() + pixels.size();
  if (box.height == full_height && box.width == full_width) {
    const std::size_t row_bytes = static_cast<std::size_t>(window.width) * 3;
    for (int y = 0; y < window.height; ++y) {
      std::memcpy(result.data() + y * row_bytes, source.pixels + y * source.row_bytes, row_bytes);
    }
    return;
  }
  const ResampleWeights across = resample_weights(interpolation, box.width, full_width, window.left, window.width);
  const ResampleWeights down = resample_weights(interpolation, box.height, full_height, window.top, window.height);
  if (path == ResamplePath::portable || needed.width > kWidestByQuads) {
    resample_portably(source, across, down, result.data());
  } else {
    resample_by_quads(path, source, across, down, result.data());
  }
}

void crop_and_resize(const ImageRegion& image, const PixelBox& box, int full_height, int full_width,
                     const PixelBox& window, Interpolation interpolation, std::span<std::uint8_t> out) {
  static const ResamplePath path = best_resample_path();
  crop_and_resize_by(path, image, box, full_height, full_width, window, interpolation, out);
}

ImageEdges resized_edges(ImageEdges whole, int edge) {
  if (edge < 1) {
    throw Error(fmt::format("can't resize to an edge of {} pixels", edge));
  }
  const int shorter = std::min(whole.height, whole.width);
  if (shorter <= edge) {
    return whole;
  }
  const auto resized = [&](int side) { return static_cast<int>(std::int64_t{edge} * side / shorter); };
  return {resized(whole.height), resized(whole.width)};
}

Image resize_shorter_edge(Image image, int edge, Interpolation interpolation) {
  const ImageEdges edges = resized_edges({image.height, image.width}, edge);
  if (edges.height == image.height && edges.width == image.width) {
    return image;
  }
  Image result{edges.height, edges.width, {}};
  result.pixels.resize(static_cast<std::size_t>(result.height) * result.width * 3);
  const PixelBox whole{0, 0, image.height, image.width};
  crop_and_resize({std::move(image), 0, 0}, whole, result.height, result.width, {0, 0, result.height, result.width},
                  interpolation, result.pixels);
  return result;
}

}  // namespace maskedkd
