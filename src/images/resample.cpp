// Resampling in the arithmetic of PIL's 8-bit path, so that the pixels are PIL's: antialiased convolution, one
// pass across and one down, weights as fixed-point numbers of 22 bits, every pass rounded to 8 bits.
#include "maskedkd/images/image.hpp"

#include <algorithm>
#include <cmath>

namespace maskedkd {
namespace {

constexpr int kPrecisionBits = 32 - 8 - 2;
// A filter's weight at a distance from its centre, and the distance from which on it is 0.
struct Filter {
  double (*weight)(double);
  double support;
};

double triangle(double x) { return std::max(0.0, 1.0 - std::abs(x)); }

double cubic(double x) {
  constexpr double a = -0.5;
  x = std::abs(x);
  if (x < 1.0) {
    return ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0;
  }
  if (x < 2.0) {
    return (((x - 5.0) * x + 8.0) * x - 4.0) * a;
  }
  return 0.0;
}

Filter filter_of(Interpolation interpolation) {
  return interpolation == Interpolation::bilinear ? Filter{triangle, 1.0} : Filter{cubic, 2.0};
}

// For each output position from `first` on: where its weights begin in the input, how many there are, and they.
struct Weights {
  struct Window {
    int begin;
    int length;
  };
  std::vector<Window> windows;
  std::vector<std::int32_t> values;  // [output, stride]
  int stride;
};

Weights weights_for(const Filter& filter, int input, int output, int first, int count) {
  const double scale = static_cast<double>(input) / output;
  const double filter_scale = std::max(scale, 1.0);
  const double support = filter.support * filter_scale;
  Weights weights;
  weights.stride = static_cast<int>(std::ceil(support)) * 2 + 1;
  weights.windows.resize(count);
  weights.values.assign(static_cast<std::size_t>(count) * weights.stride, 0);
  std::vector<double> exact(weights.stride);
  for (int out = 0; out < count; ++out) {
    const double centre = (first + out + 0.5) * scale;
    const int begin = std::max(0, static_cast<int>(centre - support + 0.5));
    const int end = std::min(input, static_cast<int>(centre + support + 0.5));
    double total = 0.0;
    for (int i = begin; i < end; ++i) {
      exact[i - begin] = filter.weight((i - centre + 0.5) * (1.0 / filter_scale));
      total += exact[i - begin];
    }
    weights.windows[out] = {begin, end - begin};
    std::int32_t* row = &weights.values[static_cast<std::size_t>(out) * weights.stride];
    for (int i = 0; i < end - begin; ++i) {
      const double weight = total != 0.0 ? exact[i] / total : exact[i];
      const double fixed = weight * (1 << kPrecisionBits);
      row[i] = static_cast<std::int32_t>(fixed < 0 ? fixed - 0.5 : fixed + 0.5);
    }
  }
  return weights;
}

std::uint8_t clip(std::int32_t sum) { return static_cast<std::uint8_t>(std::clamp(sum >> kPrecisionBits, 0, 255)); }

constexpr std::int32_t kHalf = 1 << (kPrecisionBits - 1);

// rows x box.width -> rows x as many columns as there are weights. box: of `from`.
std::vector<std::uint8_t> resample_across(const Image& from, const PixelBox& box, int first_row, int rows,
                                          const Weights& weights) {
  const int width = static_cast<int>(weights.windows.size());
  std::vector<std::uint8_t> result(static_cast<std::size_t>(rows) * width * 3);
  for (int y = 0; y < rows; ++y) {
    const std::uint8_t* source =
        &from.pixels[(static_cast<std::size_t>(box.top + first_row + y) * from.width + box.left) * 3];
    std::uint8_t* out = &result[static_cast<std::size_t>(y) * width * 3];
    for (int x = 0; x < width; ++x) {
      const auto [begin, length] = weights.windows[x];
      const std::int32_t* weight = &weights.values[static_cast<std::size_t>(x) * weights.stride];
      std::int32_t red = kHalf, green = kHalf, blue = kHalf;
      for (int i = 0; i < length; ++i) {
        const std::uint8_t* pixel = source + static_cast<std::size_t>(begin + i) * 3;
        red += pixel[0] * weight[i];
        green += pixel[1] * weight[i];
        blue += pixel[2] * weight[i];
      }
      out[3 * x] = clip(red);
      out[3 * x + 1] = clip(green);
      out[3 * x + 2] = clip(blue);
    }
  }
  return result;
}

}  // namespace

std::string to_string(Interpolation interpolation) {
  return interpolation == Interpolation::bilinear ? "bilinear" : "bicubic";
}

PixelBox pixels_needed(const PixelBox& box, int full_height, int full_width, const PixelBox& window,
                       Interpolation interpolation) {
  const auto along = [&](int input, int output, int first, int count) {
    if (input == output) {
      return Weights::Window{first, count};
    }
    const Weights weights = weights_for(filter_of(interpolation), input, output, first, count);
    const auto& [begin, length] = weights.windows.back();
    return Weights::Window{weights.windows.front().begin, begin + length - weights.windows.front().begin};
  };
  const auto [top, height] = along(box.height, full_height, window.top, window.height);
  const auto [left, width] = along(box.width, full_width, window.left, window.width);
  return {box.top + top, box.left + left, height, width};
}

void crop_and_resize(const ImageRegion& image, const PixelBox& whole_box, int full_height, int full_width,
                     const PixelBox& window, Interpolation interpolation, std::span<std::uint8_t> result) {
  const auto [top, left, height, width] = window;
  const Filter filter = filter_of(interpolation);
  const PixelBox box = {whole_box.top - image.top, whole_box.left - image.left, whole_box.height, whole_box.width};
  const bool across = box.width != full_width, down = box.height != full_height;
  const Weights weights = down ? weights_for(filter, box.height, full_height, top, height) : Weights{};
  // Only the rows that the second pass will read.
  const int first = down ? weights.windows.front().begin : top;
  const int last = down ? weights.windows.back().begin + weights.windows.back().length : top + height;
  std::vector<std::uint8_t> rows;
  if (across) {
    rows =
        resample_across(image.part, box, first, last - first, weights_for(filter, box.width, full_width, left, width));
  } else {
    for (int y = first; y < last; ++y) {
      const auto begin = image.part.pixels.begin() +
                         (static_cast<std::ptrdiff_t>(box.top + y) * image.part.width + box.left + left) * 3;
      rows.insert(rows.end(), begin, begin + static_cast<std::ptrdiff_t>(width) * 3);
    }
  }
  if (!down) {
    std::copy(rows.begin(), rows.end(), result.begin());
    return;
  }
  const int row_length = width * 3;
  std::vector<std::int32_t> sums(row_length);
  for (int y = 0; y < height; ++y) {
    const auto [begin, length] = weights.windows[y];
    const std::int32_t* weight = &weights.values[static_cast<std::size_t>(y) * weights.stride];
    std::fill(sums.begin(), sums.end(), kHalf);
    for (int i = 0; i < length; ++i) {
      const std::uint8_t* source = &rows[static_cast<std::size_t>(begin - first + i) * row_length];
      for (int x = 0; x < row_length; ++x) {
        sums[x] += source[x] * weight[i];
      }
    }
    std::transform(sums.begin(), sums.end(), &result[static_cast<std::size_t>(y) * row_length], clip);
  }
}

}  // namespace maskedkd
