// The arithmetic of single pixels in the augmentations, with PIL's order of operations: the loops for the CPU and the
// CUDA kernel that applies the same plans share it, so that both give the same bits. Integer where PIL uses integers.
// Where PIL uses float, every product and every sum is rounded separately: host code that includes this is compiled
// with -ffp-contract=off. Where PIL interpolates in double, this uses float, which differs by at most one level.
#pragma once

#include "maskedkd/base/host_device.hpp"

#include <cstdint>

namespace maskedkd {

// a * b + c, never fused.
MASKEDKD_HOST_DEVICE inline float multiply_add(float a, float b, float c) {
#if defined(__CUDA_ARCH__)
  return __fadd_rn(__fmul_rn(a, b), c);
#else
  return a * b + c;
#endif
}
MASKEDKD_HOST_DEVICE inline double multiply_add(double a, double b, double c) {
#if defined(__CUDA_ARCH__)
  return __dadd_rn(__dmul_rn(a, b), c);
#else
  return a * b + c;
#endif
}

// Rounded towards 0 and clamped to [0, 255].
MASKEDKD_HOST_DEVICE inline std::uint8_t to_level(float value) {
  value = value < 0.0f ? 0.0f : value;
  value = value > 255.0f ? 255.0f : value;
  return static_cast<std::uint8_t>(static_cast<std::int32_t>(value));
}

// --- One level from one level.
MASKEDKD_HOST_DEVICE inline std::uint8_t inverted(std::uint8_t level) { return static_cast<std::uint8_t>(~level); }
// The bits of a level that posterize keeps; none where bits <= 0.
MASKEDKD_HOST_DEVICE inline std::uint8_t posterize_mask(int bits) {
  return static_cast<std::uint8_t>(bits <= 0 ? 0 : bits >= 8 ? 0xFF : 0xFF << (8 - bits));
}
MASKEDKD_HOST_DEVICE inline std::uint8_t solarized(std::uint8_t level, int threshold) {
  return level < threshold ? level : inverted(level);
}
MASKEDKD_HOST_DEVICE inline std::uint8_t solarize_added(std::uint8_t level, int amount) {
  const int sum = level + amount;
  return level < 128 ? static_cast<std::uint8_t>(sum > 255 ? 255 : sum) : level;
}

// --- Blends: PIL's ImageEnhance interpolates between a degenerate image (0) and the image (1), or extrapolates.
MASKEDKD_HOST_DEVICE inline std::uint8_t blended(std::uint8_t degenerate, std::uint8_t level, float factor) {
  return to_level(multiply_add(factor, static_cast<float>(level - degenerate), static_cast<float>(degenerate)));
}
// ITU-R 601-2 luma as PIL's convert("L"): the degenerate level of Color.
MASKEDKD_HOST_DEVICE inline std::uint8_t luma(std::uint8_t red, std::uint8_t green, std::uint8_t blue) {
  return static_cast<std::uint8_t>((red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16);
}
// The degenerate level of Contrast. luma_sum: over the image's pixels.
MASKEDKD_HOST_DEVICE inline std::uint8_t mean_luma(std::uint64_t luma_sum, std::uint64_t num_pixels) {
  return static_cast<std::uint8_t>(static_cast<double>(luma_sum) / static_cast<double>(num_pixels) + 0.5);
}
// The degenerate level of Sharpness, PIL's SMOOTH: sum = the 8 neighbours + 5 * the level itself, over 13, rounded
// (there are no ties, and multiplying by 5042 / 2^16 gives the exact result for all possible sums). Pixels on the
// border keep their level.
MASKEDKD_HOST_DEVICE inline std::uint8_t smoothed(std::uint16_t sum) {
  return static_cast<std::uint8_t>((static_cast<std::uint32_t>(sum + 6) * 5042u) >> 16);
}

// --- Tables of one channel. histogram, table: [256].
MASKEDKD_HOST_DEVICE inline void auto_contrast_table(int darkest, int lightest, std::uint8_t* table) {
  const double scale = lightest > darkest ? 255.0 / (lightest - darkest) : 1.0;
  const double offset = lightest > darkest ? -darkest * scale : 0.0;
  for (int level = 0; level < 256; ++level) {
    const int stretched = static_cast<int>(multiply_add(static_cast<double>(level), scale, offset));
    table[level] = static_cast<std::uint8_t>(stretched < 0 ? 0 : stretched > 255 ? 255 : stretched);
  }
}
MASKEDKD_HOST_DEVICE inline void equalize_table(const std::uint32_t* histogram, std::uint8_t* table) {
  std::uint32_t total = 0, last = 0;
  for (int level = 0; level < 256; ++level) {
    total += histogram[level];
    last = histogram[level] != 0 ? histogram[level] : last;
  }
  const std::uint32_t step = (total - last) / 255;  // 0 too where there is one level only
  std::uint32_t below = step / 2;
  for (int level = 0; level < 256; ++level) {
    const std::uint32_t spread = step != 0 ? below / step : static_cast<std::uint32_t>(level);
    table[level] = static_cast<std::uint8_t>(spread > 255 ? 255 : spread);
    below += histogram[level];
  }
}

// --- Gaussian blur: PIL's three horizontal passes of a box with fractional ends, then three vertical ones, each
// rounded to levels; the outermost pixels are repeated beyond the border.
inline constexpr int kBoxPasses = 3;  // in each direction
struct BoxWeights {
  int radius = 0;            // whole pixels on each side
  std::uint32_t inside = 0;  // weight of each of the 2 * radius + 1, of 2^24
  std::uint32_t ends = 0;    // weight of the pixel next to them on either side
};
MASKEDKD_HOST_DEVICE inline std::uint8_t boxed(std::uint32_t inside_sum, std::uint32_t ends_sum,
                                               const BoxWeights& weights) {
  return static_cast<std::uint8_t>((inside_sum * weights.inside + ends_sum * weights.ends + (1u << 23)) >> 24);
}

// --- Affine transforms: the output pixel (x, y) is sampled at the position of its centre in the input. Outside of the
// image it is ImageNet's mean colour.
MASKEDKD_HOST_DEVICE constexpr std::uint8_t fill_level(int channel) {
  return channel == 0 ? 124 : channel == 1 ? 116 : 104;
}
struct AffineMap {
  double xx = 1, xy = 0, x0 = 0;  // x of the input = xx * (x + 0.5) + xy * (y + 0.5) + x0
  double yx = 0, yy = 1, y0 = 0;
};
// The position of a sample along one axis: `fraction`, in [0, 1], after the centre of `pixel`, which may be -1.
struct SamplePoint {
  std::int32_t pixel;
  float fraction;
  bool inside;  // outside, the result is the fill colour
};
MASKEDKD_HOST_DEVICE inline std::int32_t floor_of(double value) {
  const auto whole = static_cast<std::int32_t>(value);
  return whole - (value < whole ? 1 : 0);
}
// own: the output's coordinate on this axis, scaled by own_scale; cross: that on the other axis.
MASKEDKD_HOST_DEVICE inline SamplePoint sample_point(double own_scale, double cross_scale, double offset, int own,
                                                     int cross, int size) {
  const double position = multiply_add(cross_scale, cross + 0.5, own_scale * (own + 0.5)) + offset;
  const double behind_centre = position - 0.5;
  const std::int32_t whole = floor_of(behind_centre);
  return {whole, static_cast<float>(behind_centre - whole), static_cast<bool>((position >= 0.0) & (position < size))};
}
// Where own_scale is 1: all pixels of a line have the same fraction.
MASKEDKD_HOST_DEVICE inline SamplePoint shifted_point(double cross_scale, double offset, int own, int cross, int size) {
  const double shift = multiply_add(cross_scale, cross + 0.5, offset);
  const std::int32_t whole = floor_of(shift);
  const double position = own + 0.5 + shift;
  return {own + whole, static_cast<float>(shift - whole), static_cast<bool>((position >= 0.0) & (position < size))};
}
// Shears and translations move whole rows (x by shifted_point(xy, x0, ...), y stays) or whole columns (the same of y);
// other maps take sample_point on both axes.
enum class MapShape : std::uint8_t { rows, columns, any };
MASKEDKD_HOST_DEVICE inline MapShape shape_of(const AffineMap& map) {
  if (map.xx == 1 && map.yy == 1 && map.yx == 0 && map.y0 == 0) {
    return MapShape::rows;
  }
  return map.xx == 1 && map.yy == 1 && map.xy == 0 && map.x0 == 0 ? MapShape::columns : MapShape::any;
}

// The weight of tap t (pixels -1, 0, 1, 2 from SamplePoint::pixel) is a polynomial of the fraction; [power][tap]. PIL's
// transform() has the cubic of a = -1, without antialiasing.
struct TapPolynomials {
  float coefficients[4][4];
};
MASKEDKD_HOST_DEVICE inline TapPolynomials cubic_taps() {
  return {{{0, 1, 0, 0}, {-1, 0, 1, 0}, {2, -2, 1, -1}, {-1, 1, -1, 1}}};
}
MASKEDKD_HOST_DEVICE inline TapPolynomials linear_taps() { return {{{0, 1, 0, 0}, {0, -1, 1, 0}, {}, {}}}; }
MASKEDKD_HOST_DEVICE inline float tap_weight(const TapPolynomials& taps, int tap, float fraction) {
  const auto& c = taps.coefficients;
  return multiply_add(multiply_add(multiply_add(c[3][tap], fraction, c[2][tap]), fraction, c[1][tap]), fraction,
                      c[0][tap]);
}
// Added before truncation, as these sums have errors of up to 3e-4 where PIL's are exact: a flat area keeps its level.
inline constexpr float kBeforeTruncation = 1.0f / 2048;

// Vertically: of the samples of one column in four rows.
MASKEDKD_HOST_DEVICE inline float weighted_down(const float* weights, float p0, float p1, float p2, float p3) {
  return multiply_add(weights[3], p3, multiply_add(weights[2], p2, multiply_add(weights[1], p1, weights[0] * p0)));
}
// Horizontally: of the results of weighted_down() for four columns.
MASKEDKD_HOST_DEVICE inline float weighted_across(const float* weights, float p0, float p1, float p2, float p3) {
  return multiply_add(weights[2], p2, weights[0] * p0) + multiply_add(weights[3], p3, weights[1] * p1);
}

}  // namespace maskedkd
