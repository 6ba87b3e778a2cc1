#include "maskedkd/augment/operations.hpp"

#include "geometric.hpp"
#include "maskedkd/base/clones.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <numbers>
#include <vector>

namespace maskedkd {
namespace {

constexpr std::array<std::string_view, kNumOperationKinds> kNames = {
    "AutoContrast", "Equalize",   "Invert",     "Posterize",    "Solarize", "SolarizeAdd",
    "Color",        "Contrast",   "Brightness", "Sharpness",    "Rotate",   "ShearX",
    "ShearY",       "TranslateX", "TranslateY", "GaussianBlur", "Grayscale"};

// --- Operations on single levels. count: levels of all three channels.
MASKEDKD_CLONES void invert(std::uint8_t* levels, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) {
    levels[i] = inverted(levels[i]);
  }
}

MASKEDKD_CLONES void posterize(std::uint8_t* levels, std::size_t count, int bits) {
  const std::uint8_t mask = posterize_mask(bits);
  for (std::size_t i = 0; i < count; ++i) {
    levels[i] &= mask;
  }
}

MASKEDKD_CLONES void solarize(std::uint8_t* levels, std::size_t count, int threshold) {
  for (std::size_t i = 0; i < count; ++i) {
    levels[i] = solarized(levels[i], threshold);
  }
}

MASKEDKD_CLONES void solarize_add(std::uint8_t* levels, std::size_t count, int amount) {
  for (std::size_t i = 0; i < count; ++i) {
    levels[i] = solarize_added(levels[i], amount);
  }
}

MASKEDKD_CLONES void blend_with(std::uint8_t degenerate, std::uint8_t* levels, std::size_t count, float factor) {
  for (std::size_t i = 0; i < count; ++i) {
    levels[i] = blended(degenerate, levels[i], factor);
  }
}

// --- Operations on single pixels.
MASKEDKD_CLONES std::uint64_t luma_sum(const std::uint8_t* levels, std::size_t num_pixels) {
  std::uint64_t total = 0;
  for (std::size_t done = 0; done < num_pixels;) {  // 32 bits are enough for the sum of a block
    const std::size_t end = std::min(num_pixels, done + (std::size_t{1} << 20));
    std::uint32_t sum = 0;
    for (; done < end; ++done) {
      sum += luma(levels[3 * done], levels[3 * done + 1], levels[3 * done + 2]);
    }
    total += sum;
  }
  return total;
}

MASKEDKD_CLONES void blend_with_luma(std::uint8_t* levels, std::size_t num_pixels, float factor) {
  for (std::size_t i = 0; i < num_pixels; ++i) {
    std::uint8_t* pixel = levels + 3 * i;
    const std::uint8_t red = pixel[0], green = pixel[1], blue = pixel[2], gray = luma(red, green, blue);
    pixel[0] = blended(gray, red, factor);
    pixel[1] = blended(gray, green, factor);
    pixel[2] = blended(gray, blue, factor);
  }
}

MASKEDKD_CLONES void grayscale(std::uint8_t* levels, std::size_t num_pixels) {
  for (std::size_t i = 0; i < num_pixels; ++i) {
    std::uint8_t* pixel = levels + 3 * i;
    pixel[0] = pixel[1] = pixel[2] = luma(pixel[0], pixel[1], pixel[2]);
  }
}

// --- Operations by a table for each channel.
using Tables = std::array<std::array<std::uint8_t, 256>, 3>;

void look_up(const Tables& tables, std::uint8_t* levels, std::size_t num_pixels) {
  const std::uint8_t *red = tables[0].data(), *green = tables[1].data(), *blue = tables[2].data();
  for (std::uint8_t *pixel = levels, *end = levels + 3 * num_pixels; pixel != end; pixel += 3) {
    const std::uint8_t r = red[pixel[0]], g = green[pixel[1]], b = blue[pixel[2]];
    pixel[0] = r;
    pixel[1] = g;
    pixel[2] = b;
  }
}

// The smallest and largest level of each channel, 48 levels (16 pixels) at a time.
MASKEDKD_CLONES void find_range(const std::uint8_t* levels, std::size_t count, std::uint8_t* darkest,
                                std::uint8_t* lightest) {
  std::uint8_t low[48], high[48];
  for (int k = 0; k < 48; ++k) {
    low[k] = 255;
    high[k] = 0;
  }
  const std::size_t whole = count / 48 * 48;
  for (std::size_t i = 0; i < whole; i += 48) {
    for (int k = 0; k < 48; ++k) {
      low[k] = levels[i + k] < low[k] ? levels[i + k] : low[k];
      high[k] = levels[i + k] > high[k] ? levels[i + k] : high[k];
    }
  }
  for (std::size_t i = whole; i < count; ++i) {
    low[i - whole] = std::min(low[i - whole], levels[i]);
    high[i - whole] = std::max(high[i - whole], levels[i]);
  }
  for (int k = 0; k < 48; ++k) {
    darkest[k % 3] = std::min(darkest[k % 3], low[k]);
    lightest[k % 3] = std::max(lightest[k % 3], high[k]);
  }
}

void auto_contrast(std::uint8_t* levels, std::size_t num_pixels) {
  std::uint8_t darkest[3] = {255, 255, 255}, lightest[3] = {0, 0, 0};
  find_range(levels, 3 * num_pixels, darkest, lightest);
  Tables tables;
  for (std::size_t channel = 0; channel < 3; ++channel) {
    auto_contrast_table(darkest[channel], lightest[channel], tables[channel].data());
  }
  look_up(tables, levels, num_pixels);
}

void equalize(std::uint8_t* levels, std::size_t num_pixels) {
  // Two histograms for each channel: the same level twice in a row would stall.
  std::array<std::array<std::uint32_t, 256>, 6> histograms{};
  const std::uint8_t *pixel = levels, *end = levels + 3 * num_pixels;
  for (; end - pixel >= 6; pixel += 6) {
    for (std::size_t k = 0; k < 6; ++k) {
      ++histograms[k][pixel[k]];
    }
  }
  for (std::size_t k = 0; pixel != end; ++k, ++pixel) {
    ++histograms[k][*pixel];
  }
  Tables tables;
  for (std::size_t channel = 0; channel < 3; ++channel) {
    for (std::size_t level = 0; level < 256; ++level) {
      histograms[channel][level] += histograms[channel + 3][level];
    }
    equalize_table(histograms[channel].data(), tables[channel].data());
  }
  look_up(tables, levels, num_pixels);
}

// --- Operations on neighbouring pixels.
MASKEDKD_CLONES void sharpen_row(const std::uint8_t* __restrict above, const std::uint8_t* __restrict row,
                                 const std::uint8_t* __restrict below, int count, float factor,
                                 std::uint8_t* __restrict out) {
  for (int i = 3; i < count - 3; ++i) {
    const int sum = above[i - 3] + above[i] + above[i + 3] + row[i - 3] + 5 * row[i] + row[i + 3] + below[i - 3] +
                    below[i] + below[i + 3];
    out[i] = blended(smoothed(static_cast<std::uint16_t>(sum)), row[i], factor);
  }
}

void sharpen(const std::uint8_t* source, std::uint8_t* out, int height, int width, float factor) {
  const std::ptrdiff_t row_bytes = std::ptrdiff_t{3} * width;
  for (int y = 1; y < height - 1; ++y) {
    const std::uint8_t* row = source + y * row_bytes;
    sharpen_row(row - row_bytes, row, row + row_bytes, 3 * width, factor, out + y * row_bytes);
  }
}

// lines: the 2 * radius + 3 lines that contribute to one line of the result, with the outermost first and last.
MASKEDKD_CLONES void box_line(const std::uint8_t* const* lines, const BoxWeights& weights, int count,
                              std::uint8_t* __restrict out) {
  const BoxWeights box = weights;
  const std::uint8_t *first = lines[0], *last = lines[2 * box.radius + 2];
  if (box.radius == 0) {
    const std::uint8_t* middle = lines[1];
    for (int i = 0; i < count; ++i) {
      out[i] = boxed(middle[i], static_cast<std::uint32_t>(first[i] + last[i]), box);
    }
  } else if (box.radius == 1) {
    const std::uint8_t *a = lines[1], *b = lines[2], *c = lines[3];
    for (int i = 0; i < count; ++i) {
      out[i] =
          boxed(static_cast<std::uint32_t>(a[i] + b[i] + c[i]), static_cast<std::uint32_t>(first[i] + last[i]), box);
    }
  } else {
    for (int i = 0; i < count; ++i) {
      std::uint32_t sum = 0;
      for (int k = 1; k <= 2 * box.radius + 1; ++k) {
        sum += lines[k][i];
      }
      out[i] = boxed(sum, static_cast<std::uint32_t>(first[i] + last[i]), box);
    }
  }
}

void blur(std::uint8_t* image, std::uint8_t* other, int height, int width, const BoxWeights& box) {
  if (box.radius == 0 && box.ends == 0) {
    return;
  }
  const int reach = box.radius + 1, row_bytes = 3 * width;
  std::vector<std::uint8_t> padded(static_cast<std::size_t>(width + 2 * reach) * 3);
  std::vector<const std::uint8_t*> lines(static_cast<std::size_t>(2 * reach) + 1);
  for (int k = 0; k <= 2 * reach; ++k) {
    lines[k] = &padded[static_cast<std::size_t>(3) * k];
  }
  for (int y = 0; y < height; ++y) {
    std::uint8_t* row = image + static_cast<std::ptrdiff_t>(y) * row_bytes;
    for (int pass = 0; pass < kBoxPasses; ++pass) {
      for (int x = 0; x < reach; ++x) {
        std::copy_n(row, 3, &padded[static_cast<std::size_t>(3) * x]);
        std::copy_n(row + row_bytes - 3, 3, &padded[static_cast<std::size_t>(3) * (reach + width + x)]);
      }
      std::copy_n(row, row_bytes, &padded[static_cast<std::size_t>(3) * reach]);
      box_line(lines.data(), box, row_bytes, row);
    }
  }
  for (int pass = 0; pass < kBoxPasses; ++pass) {
    for (int y = 0; y < height; ++y) {
      for (int k = 0; k <= 2 * reach; ++k) {
        lines[k] = image + static_cast<std::ptrdiff_t>(std::clamp(y - reach + k, 0, height - 1)) * row_bytes;
      }
      box_line(lines.data(), box, row_bytes, other + static_cast<std::ptrdiff_t>(y) * row_bytes);
    }
    std::swap(image, other);
  }
  std::copy_n(image, static_cast<std::ptrdiff_t>(height) * row_bytes, other);  // the number of passes is odd
}
static_assert(kBoxPasses % 2 == 1);

// Python's round(value, 15).
double rounded_to_15_places(double value) {
  const std::string text = fmt::format("{:.15f}", value);
  double result = 0;
  std::from_chars(text.data(), text.data() + text.size(), result);
  return result;
}

}  // namespace

std::string_view to_string(OperationKind kind) { return kNames.at(static_cast<std::size_t>(kind)); }

bool is_geometric(OperationKind kind) { return kind >= OperationKind::rotate && kind <= OperationKind::translate_y; }

AffineMap affine_map(const ImageOperation& operation, int height, int width) {
  AffineMap map;
  switch (operation.kind) {
    case OperationKind::shear_x:
      map.xy = operation.argument;
      break;
    case OperationKind::shear_y:
      map.yx = operation.argument;
      break;
    case OperationKind::translate_x:
      map.x0 = operation.argument * width;
      break;
    case OperationKind::translate_y:
      map.y0 = operation.argument * height;
      break;
    default: {  // about the centre, with PIL's roundings
      double degrees = std::fmod(operation.argument, 360.0);
      degrees += degrees < 0 ? 360.0 : 0.0;
      const double angle = -(degrees * (std::numbers::pi / 180.0));
      const double cosine = rounded_to_15_places(std::cos(angle)), sine = rounded_to_15_places(std::sin(angle));
      const double centre_x = width / 2.0, centre_y = height / 2.0;
      map = {cosine, sine,   cosine * -centre_x + sine * -centre_y + centre_x,
             -sine,  cosine, -sine * -centre_x + cosine * -centre_y + centre_y};
    }
  }
  return map;
}

// P. Gwosdek, S. Grewenig, A. Bruhn, J. Weickert, "Theoretical Foundations of Gaussian Convolution by Extended Box
// Filtering" (SSVM 2011), equations 7, 11 and 14, in PIL's mixture of precisions.
BoxWeights box_weights(double radius) {
  const auto deviation = static_cast<float>(radius);
  const float variance = deviation * deviation / kBoxPasses;
  const auto length = static_cast<float>(std::sqrt(12.0 * variance + 1.0));
  const auto whole = static_cast<float>(std::floor((length - 1.0) / 2.0));
  float rest = (2 * whole + 1) * (whole * (whole + 1) - 3 * variance);
  rest /= 6 * (variance - (whole + 1) * (whole + 1));
  const float box_radius = whole + rest;
  BoxWeights weights;
  weights.radius = static_cast<int>(box_radius);
  weights.inside = static_cast<std::uint32_t>(static_cast<float>(1 << 24) / (box_radius * 2 + 1));
  weights.ends = ((1u << 24) - static_cast<std::uint32_t>(weights.radius * 2 + 1) * weights.inside) / 2;
  return weights;
}

void apply_operation(const ImageOperation& operation, std::span<std::uint8_t> pixels, int height, int width) {
  std::uint8_t* levels = pixels.data();
  const std::size_t count = pixels.size(), num_pixels = count / 3;
  const auto factor = static_cast<float>(operation.argument);
  const int whole = static_cast<int>(operation.argument);
  thread_local std::vector<std::uint8_t> buffer;
  const auto copy_of_image = [&] {
    buffer.resize(std::max(buffer.size(), count));
    std::copy(pixels.begin(), pixels.end(), buffer.begin());
    return buffer.data();
  };
  switch (operation.kind) {
    case OperationKind::auto_contrast:
      return auto_contrast(levels, num_pixels);
    case OperationKind::equalize:
      return equalize(levels, num_pixels);
    case OperationKind::invert:
      return invert(levels, count);
    case OperationKind::posterize:
      return posterize(levels, count, whole);
    case OperationKind::solarize:
      return solarize(levels, count, whole);
    case OperationKind::solarize_add:
      return solarize_add(levels, count, whole);
    case OperationKind::color:
      return blend_with_luma(levels, num_pixels, factor);
    case OperationKind::contrast:
      return blend_with(mean_luma(luma_sum(levels, num_pixels), num_pixels), levels, count, factor);
    case OperationKind::brightness:
      return blend_with(0, levels, count, factor);
    case OperationKind::sharpness:
      return sharpen(copy_of_image(), levels, height, width, factor);
    case OperationKind::rotate:
    case OperationKind::shear_x:
    case OperationKind::shear_y:
    case OperationKind::translate_x:
    case OperationKind::translate_y:
      return apply_affine(affine_map(operation, height, width), operation.interpolation, copy_of_image(), levels,
                          height, width);
    case OperationKind::gaussian_blur:
      return blur(levels, copy_of_image(), height, width, box_weights(operation.argument));
    case OperationKind::grayscale:
      return grayscale(levels, num_pixels);
  }
}

}  // namespace maskedkd
