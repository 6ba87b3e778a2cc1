// Affine transforms as PIL samples them. Shears and translations shift along rows or along columns and need taps in one
// direction only; a rotation uses all 16 taps, from a padded copy of the image in floats.
#include "geometric.hpp"

#include "maskedkd/base/clones.hpp"

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

namespace maskedkd {
namespace {

constexpr int kTaps = 4;
constexpr int kBefore = 1;  // the first tap lies this many pixels before the sample
constexpr int kLanes = 8;
constexpr int kPad = 2;  // pixels repeated beyond each border: as far as any sample inside reaches

// Vector types of GCC and clang: lanes of 8 floats, whatever the processor has.
typedef float Floats8 __attribute__((vector_size(32)));
typedef float Floats4 __attribute__((vector_size(16)));
typedef std::int32_t Ints4 __attribute__((vector_size(16)));
typedef std::uint8_t Bytes16 __attribute__((vector_size(16)));

// Not returned by value: the calling convention of wide vectors depends on the processor.
inline __attribute__((always_inline)) void load(Floats8& vector, const float* from) {
  std::memcpy(&vector, from, sizeof vector);
}

// A buffer of this thread, valid until its next call: allocating 0.8 MB anew would cost as much as filling it.
float* float_buffer(std::size_t count) {
  thread_local std::vector<float> buffer;
  buffer.resize(std::max(buffer.size(), count));
  return buffer.data();
}

void fill_pixels(std::uint8_t* row, int first, int last) {
  for (int x = first; x < last; ++x) {
    std::copy(kFillColour.begin(), kFillColour.end(), row + 3 * x);
  }
}

// Computes out[i], i < count, from levels[i], levels[i + 3], levels[i + 6], levels[i + 9].
MASKEDKD_CLONES void sample_row(const std::uint8_t* __restrict levels, const float* weights, int count,
                                std::uint8_t* __restrict out) {
  const float w[kTaps] = {weights[0], weights[1], weights[2], weights[3]};
  for (int i = 0; i < count; ++i) {
    out[i] = to_level(weighted_across(w, levels[i], levels[i + 3], levels[i + 6], levels[i + 9]) + kBeforeTruncation);
  }
}

// The range of a line's pixels whose samples lie inside. at: the SamplePoint of a pixel; neighbouring ones are 1 apart.
template <typename At>
std::pair<int, int> inside_range(const At& at, int size) {
  const int whole = at(0).pixel;
  int first = std::clamp(-whole - 1, 0, size), last = std::clamp(size - whole + 1, first, size);
  while (first < last && !at(first).inside) {
    ++first;
  }
  while (last > first && !at(last - 1).inside) {
    --last;
  }
  return {first, last};
}

// Shifts each row by its own distance.
void shift_rows(const AffineMap& map, const TapPolynomials& taps, const std::uint8_t* source, std::uint8_t* out,
                int height, int width) {
  std::vector<std::uint8_t> padded(static_cast<std::size_t>(width + 2 * kPad) * 3);
  for (int y = 0; y < height; ++y) {
    const std::uint8_t* row = source + static_cast<std::size_t>(y) * width * 3;
    for (int x = 0; x < kPad; ++x) {
      std::copy_n(row, 3, &padded[3 * x]);
      std::copy_n(row + 3 * (width - 1), 3, &padded[3 * (kPad + width + x)]);
    }
    std::copy_n(row, 3 * width, &padded[std::size_t{3} * kPad]);
    const auto at = [&](int x) { return shifted_point(map.xy, map.x0, x, y, width); };
    const auto [first, last] = inside_range(at, width);
    std::uint8_t* out_row = out + static_cast<std::size_t>(y) * width * 3;
    fill_pixels(out_row, 0, first);
    fill_pixels(out_row, last, width);
    if (first < last) {
      const SamplePoint begin = at(first);
      float weights[kTaps];
      for (int tap = 0; tap < kTaps; ++tap) {
        weights[tap] = tap_weight(taps, tap, begin.fraction);
      }
      sample_row(&padded[static_cast<std::size_t>(begin.pixel - kBefore + kPad) * 3], weights, 3 * (last - first),
                 out_row + 3 * first);
    }
  }
}

// Neighbouring columns that are shifted by the same whole number of pixels.
struct Run {
  int first, last;         // columns
  int whole;               // rows
  int full_from, full_to;  // rows in which all of them lie inside
};

MASKEDKD_CLONES void to_floats(const std::uint8_t* __restrict levels, std::size_t count, float* __restrict out) {
  for (std::size_t i = 0; i < count; ++i) {
    out[i] = levels[i];
  }
}

MASKEDKD_CLONES void to_levels(const float* __restrict values, std::size_t count, std::uint8_t* __restrict out) {
  for (std::size_t i = 0; i < count; ++i) {
    out[i] = to_level(values[i] + kBeforeTruncation);
  }
}

// Row y, run by run. weights: [tap][value of the row]. Reads and writes up to kLanes - 1 values beyond each row.
MASKEDKD_CLONES void sample_runs(const std::vector<Run>& runs, const float* levels, int y, int height,
                                 std::size_t row_values, const float* const* weights, float* out) {
  const float *w0 = weights[0], *w1 = weights[1], *w2 = weights[2], *w3 = weights[3];
  for (const Run& run : runs) {
    const int top = y + run.whole - kBefore;
    const auto row = [&](int tap) { return levels + std::clamp(top + tap, 0, height - 1) * row_values; };
    const float *r0 = row(0), *r1 = row(1), *r2 = row(2), *r3 = row(3);
    for (int i = 3 * run.first; i < 3 * run.last; i += kLanes) {
      Floats8 weight, level, sum;
      load(weight, w0 + i);
      load(level, r0 + i);
      sum = weight * level;
      load(weight, w1 + i);
      load(level, r1 + i);
      sum = weight * level + sum;
      load(weight, w2 + i);
      load(level, r2 + i);
      sum = weight * level + sum;
      load(weight, w3 + i);
      load(level, r3 + i);
      sum = weight * level + sum;
      std::memcpy(out + i, &sum, sizeof sum);
    }
  }
}

// Shifts each column by its own distance.
void shift_columns(const AffineMap& map, const TapPolynomials& taps, const std::uint8_t* source, std::uint8_t* out,
                   int height, int width) {
  std::vector<Run> runs;
  std::vector<int> first_inside(width), end_inside(width);
  std::vector<float> weights[kTaps];
  for (std::vector<float>& of_tap : weights) {
    of_tap.assign(static_cast<std::size_t>(3) * width + kLanes, 0.0f);
  }
  for (int x = 0; x < width; ++x) {
    const auto at = [&](int y) { return shifted_point(map.yx, map.y0, y, x, height); };
    const auto [first, last] = inside_range(at, height);
    const SamplePoint point = at(0);
    for (int tap = 0; tap < kTaps; ++tap) {
      std::fill_n(&weights[tap][static_cast<std::size_t>(3) * x], 3, tap_weight(taps, tap, point.fraction));
    }
    first_inside[x] = first;
    end_inside[x] = last;
    if (runs.empty() || runs.back().whole != point.pixel) {
      runs.push_back({x, x, point.pixel, 0, height});
    }
    Run& run = runs.back();
    run.last = x + 1;
    run.full_from = std::max(run.full_from, first);
    run.full_to = std::min(run.full_to, last);
  }
  const float* weight_rows[kTaps] = {weights[0].data(), weights[1].data(), weights[2].data(), weights[3].data()};
  const auto row_values = static_cast<std::size_t>(width) * 3;
  float* levels = float_buffer(height * row_values + kLanes);
  to_floats(source, height * row_values, levels);
  std::vector<float> row(row_values + kLanes);
  for (int y = 0; y < height; ++y) {
    sample_runs(runs, levels, y, height, row_values, weight_rows, row.data());
    std::uint8_t* out_row = out + y * row_values;
    to_levels(row.data(), row_values, out_row);
    for (const Run& run : runs) {
      for (int x = run.first; x < run.last && (y < run.full_from || y >= run.full_to); ++x) {
        if (y < first_inside[x] || y >= end_inside[x]) {
          fill_pixels(out_row, x, x + 1);
        }
      }
    }
  }
}

// out: [height + 2 * kPad, width + 2 * kPad, 4] floats, with repeated borders; the fourth value has no meaning.
MASKEDKD_CLONES void pad_to_floats(const std::uint8_t* source, int height, int width, float* out) {
  const std::size_t stride = static_cast<std::size_t>(width + 2 * kPad) * 4;
  std::vector<float> levels(static_cast<std::size_t>(width) * 3 + 1, 0.0f);
  for (int y = 0; y < height; ++y) {
    const std::uint8_t* row = source + static_cast<std::size_t>(y) * width * 3;
    for (int i = 0; i < 3 * width; ++i) {
      levels[i] = row[i];
    }
    float* to = out + (y + kPad) * stride;
    for (int x = 0; x < width; ++x) {
      std::memcpy(to + 4 * (x + kPad), &levels[static_cast<std::size_t>(3) * x], 4 * sizeof(float));
    }
    for (int x = 0; x < kPad; ++x) {
      std::memcpy(to + 4 * x, to + 4 * kPad, 4 * sizeof(float));
      std::memcpy(to + 4 * (kPad + width + x), to + 4 * (kPad + width - 1), 4 * sizeof(float));
    }
  }
  for (int y = 0; y < kPad; ++y) {
    std::memcpy(out + y * stride, out + kPad * stride, stride * sizeof(float));
    std::memcpy(out + (kPad + height + y) * stride, out + (kPad + height - 1) * stride, stride * sizeof(float));
  }
}

// For each pixel of one output row: where its taps begin in the padded copy (-1: outside), and their weights.
struct RowSamples {
  std::vector<std::int32_t> begin;
  std::vector<float> across;       // [x][tap]
  std::vector<float> down[kTaps];  // [tap][x]
};

MASKEDKD_CLONES void place_row(const AffineMap& of_image, const TapPolynomials& polynomials, int y, int height,
                               int width, RowSamples& samples) {
  const AffineMap map = of_image;
  const TapPolynomials taps = polynomials;
  const std::int32_t stride = (width + 2 * kPad) * 4;
  std::int32_t* __restrict begin = samples.begin.data();
  float *__restrict across = samples.across.data(), *__restrict down0 = samples.down[0].data(),
        *__restrict down1 = samples.down[1].data(), *__restrict down2 = samples.down[2].data(),
        *__restrict down3 = samples.down[3].data();
  for (int x = 0; x < width; ++x) {
    const SamplePoint column = sample_point(map.xx, map.xy, map.x0, x, y, width);
    begin[x] = column.inside ? (column.pixel - kBefore + kPad) * 4 : -1;
    down1[x] = column.fraction;
  }
  for (int x = 0; x < width; ++x) {
    const SamplePoint row = sample_point(map.yy, map.yx, map.y0, y, x, height);
    const std::int32_t of_column = begin[x], offset = (row.pixel - kBefore + kPad) * stride + of_column;
    begin[x] = static_cast<bool>((of_column >= 0) & row.inside) ? offset : -1;
    down0[x] = row.fraction;
  }
  for (int x = 0; x < width; ++x) {
    const float dx = down1[x];
    across[4 * x] = tap_weight(taps, 0, dx);
    across[4 * x + 1] = tap_weight(taps, 1, dx);
    across[4 * x + 2] = tap_weight(taps, 2, dx);
    across[4 * x + 3] = tap_weight(taps, 3, dx);
  }
  for (int x = 0; x < width; ++x) {
    const float dy = down0[x];
    down0[x] = tap_weight(taps, 0, dy);
    down1[x] = tap_weight(taps, 1, dy);
    down2[x] = tap_weight(taps, 2, dy);
    down3[x] = tap_weight(taps, 3, dy);
  }
}

// out: [width, 3] and one more byte.
MASKEDKD_CLONES void sample_placed(const float* padded, const RowSamples& samples, int width,
                                   std::uint8_t* __restrict out) {
  const std::size_t stride = static_cast<std::size_t>(width + 2 * kPad) * 4;
  const std::int32_t* begins = samples.begin.data();
  const float* across_weights = samples.across.data();
  const float* down_weights[kTaps] = {samples.down[0].data(), samples.down[1].data(), samples.down[2].data(),
                                      samples.down[3].data()};
  for (int x = 0; x < width; ++x) {
    if (begins[x] < 0) {
      fill_pixels(out, x, x + 1);
      continue;
    }
    const float* row = padded + begins[x];
    Floats8 left = {}, right = {}, next;  // two taps across in each
#pragma GCC unroll 4
    for (int tap = 0; tap < kTaps; ++tap) {
      const float weight = down_weights[tap][x];
      load(next, row);
      left = tap == 0 ? weight * next : weight * next + left;
      load(next, row + 8);
      right = tap == 0 ? weight * next : weight * next + right;
      row += stride;
    }
    Floats4 weights;
    std::memcpy(&weights, across_weights + 4 * x, sizeof weights);
    const Floats8 across = __builtin_shufflevector(weights, weights, 2, 2, 2, 2, 3, 3, 3, 3) * right +
                           __builtin_shufflevector(weights, weights, 0, 0, 0, 0, 1, 1, 1, 1) * left;
    Floats4 value = __builtin_shufflevector(across, across, 0, 1, 2, 3) +
                    __builtin_shufflevector(across, across, 4, 5, 6, 7) + kBeforeTruncation;
    const Floats4 lowest = {}, highest = lowest + 255.0f;
    value = value < lowest ? lowest : value;
    value = value > highest ? highest : value;
    const auto bytes = reinterpret_cast<Bytes16>(__builtin_convertvector(value, Ints4));
    const Bytes16 packed = __builtin_shufflevector(bytes, bytes, 0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12);
    std::memcpy(out + 3 * x, &packed, 4);
  }
}

void sample_anywhere(const AffineMap& map, const TapPolynomials& taps, const std::uint8_t* source, std::uint8_t* out,
                     int height, int width) {
  float* padded = float_buffer(static_cast<std::size_t>(height + 2 * kPad) * (width + 2 * kPad) * 4);
  pad_to_floats(source, height, width, padded);
  const auto count = static_cast<std::size_t>(width);
  RowSamples samples;
  samples.begin.resize(count);
  samples.across.resize(4 * count);
  for (std::vector<float>& of_tap : samples.down) {
    of_tap.resize(count);
  }
  std::vector<std::uint8_t> row(3 * count + 1);
  for (int y = 0; y < height; ++y) {
    place_row(map, taps, y, height, width, samples);
    sample_placed(padded, samples, width, row.data());
    std::copy_n(row.begin(), 3 * count, out + y * 3 * count);
  }
}

}  // namespace

void apply_affine(const AffineMap& map, Interpolation interpolation, const std::uint8_t* source, std::uint8_t* out,
                  int height, int width) {
  const TapPolynomials taps = interpolation == Interpolation::bilinear ? linear_taps() : cubic_taps();
  switch (shape_of(map)) {
    case MapShape::rows:
      return shift_rows(map, taps, source, out, height, width);
    case MapShape::columns:
      return shift_columns(map, taps, source, out, height, width);
    case MapShape::any:
      return sample_anywhere(map, taps, source, out, height, width);
  }
}

}  // namespace maskedkd
