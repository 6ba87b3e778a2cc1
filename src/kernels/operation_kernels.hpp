// The operations of a plan on one image [S, S, 3], by its lanes. Those that read neighbours write to another image.
#pragma once

#include "augment_batch.hpp"

namespace maskedkd::kernel {

template <typename Lanes>
MASKEDKD_KERNEL void count_levels(const Lanes& lanes, const std::uint8_t* image, int num_pixels, Shared& shared) {
  for_each(lanes, 3 * 256, [&](int i) { shared.histograms[i / 256][i % 256] = 0; });
  for_each(lanes, 3 * num_pixels, [&](int i) { lanes.add(&shared.histograms[i % 3][image[i]], 1u); });
}

template <typename Lanes>
MASKEDKD_KERNEL std::uint8_t mean_luma_of(const Lanes& lanes, const std::uint8_t* image, int num_pixels,
                                          Shared& shared) {
  if (lanes.index == 0) {
    shared.luma_sum = 0;
  }
  lanes.wait();
  Counter sum = 0;
  for (int i = lanes.index; i < num_pixels; i += lanes.count) {
    const std::uint8_t* pixel = image + 3 * i;
    sum += luma(pixel[0], pixel[1], pixel[2]);
  }
  lanes.add(&shared.luma_sum, sum);
  lanes.wait();
  return mean_luma(shared.luma_sum, static_cast<std::uint64_t>(num_pixels));
}

MASKEDKD_KERNEL inline void auto_contrast_table_of(const std::uint32_t* histogram, std::uint8_t* table) {
  int darkest = 0, lightest = 255;
  while (darkest < 255 && histogram[darkest] == 0) {
    ++darkest;
  }
  while (lightest > 0 && histogram[lightest] == 0) {
    --lightest;
  }
  auto_contrast_table(darkest, lightest, table);
}

// The result of an operation on a single level. mean: that of the image, for contrast.
MASKEDKD_KERNEL inline std::uint8_t of_level(const PlannedOperation& operation, std::uint8_t level, std::uint8_t mean) {
  switch (operation.kind) {
    case OperationKind::posterize:
      return level & posterize_mask(operation.whole);
    case OperationKind::solarize:
      return solarized(level, operation.whole);
    case OperationKind::solarize_add:
      return solarize_added(level, operation.whole);
    case OperationKind::contrast:
      return blended(mean, level, operation.factor);
    case OperationKind::brightness:
      return blended(0, level, operation.factor);
    default:
      return inverted(level);
  }
}

template <typename Lanes>
MASKEDKD_KERNEL void map_levels(const Lanes& lanes, const PlannedOperation& operation, std::uint8_t* image,
                                int num_pixels, Shared& shared) {
  const bool equalizes = operation.kind == OperationKind::equalize;
  if (equalizes || operation.kind == OperationKind::auto_contrast) {
    count_levels(lanes, image, num_pixels, shared);
    for_each(lanes, 3, [&](int channel) {
      const std::uint32_t* histogram = shared.histograms[channel];
      equalizes ? equalize_table(histogram, shared.tables[channel])
                : auto_contrast_table_of(histogram, shared.tables[channel]);
    });
  } else {
    const std::uint8_t mean =
        operation.kind == OperationKind::contrast ? mean_luma_of(lanes, image, num_pixels, shared) : std::uint8_t{0};
    for_each(lanes, 3 * 256, [&](int i) {
      shared.tables[i / 256][i % 256] = of_level(operation, static_cast<std::uint8_t>(i % 256), mean);
    });
  }
  for_each(lanes, 3 * num_pixels, [&](int i) { image[i] = shared.tables[i % 3][image[i]]; });
}

// grayscale, or color with its factor.
template <typename Lanes>
MASKEDKD_KERNEL void blend_with_luma(const Lanes& lanes, const PlannedOperation& operation, std::uint8_t* image,
                                     int num_pixels) {
  const bool only_luma = operation.kind == OperationKind::grayscale;
  for_each(lanes, num_pixels, [&](int i) {
    std::uint8_t* pixel = image + 3 * i;
    const std::uint8_t gray = luma(pixel[0], pixel[1], pixel[2]);
    for (int channel = 0; channel < 3; ++channel) {
      pixel[channel] = only_luma ? gray : blended(gray, pixel[channel], operation.factor);
    }
  });
}

template <typename Lanes>
MASKEDKD_KERNEL void sharpen(const Lanes& lanes, float factor, const std::uint8_t* source, std::uint8_t* out,
                             int size) {
  const int row = 3 * size;
  for_each(lanes, row * size, [&](int i) {
    const int y = i / row, x = i % row / 3;
    const std::uint8_t level = source[i];
    if (y == 0 || y == size - 1 || x == 0 || x == size - 1) {
      out[i] = level;
      return;
    }
    const std::uint8_t *middle = source + i, *above = middle - row, *below = middle + row;
    const int sum =
        above[-3] + above[0] + above[3] + middle[-3] + 5 * level + middle[3] + below[-3] + below[0] + below[3];
    out[i] = blended(smoothed(static_cast<std::uint16_t>(sum)), level, factor);
  });
}

MASKEDKD_KERNEL inline int within(int pixel, int size) { return pixel < 0 ? 0 : pixel < size ? pixel : size - 1; }

template <typename Lanes>
MASKEDKD_KERNEL void transform(const Lanes& lanes, const PlannedOperation& operation, const std::uint8_t* source,
                               std::uint8_t* out, int size) {
  constexpr int kTaps = 4, kBefore = 1;
  const AffineMap& map = operation.map;
  const TapPolynomials taps = operation.interpolation == Interpolation::bilinear ? linear_taps() : cubic_taps();
  const MapShape shape = shape_of(map);
  for_each(lanes, size * size, [&](int i) {
    const int y = i / size, x = i % size;
    SamplePoint column{x, 0, true}, row{y, 0, true};
    if (shape == MapShape::rows) {
      column = shifted_point(map.xy, map.x0, x, y, size);
    } else if (shape == MapShape::columns) {
      row = shifted_point(map.yx, map.y0, y, x, size);
    } else {
      column = sample_point(map.xx, map.xy, map.x0, x, y, size);
      row = sample_point(map.yy, map.yx, map.y0, y, x, size);
    }
    std::uint8_t* to = out + 3 * i;
    if (!column.inside || !row.inside) {
      for (int channel = 0; channel < 3; ++channel) {
        to[channel] = fill_level(channel);
      }
      return;
    }
    float across[kTaps], down[kTaps];
    int left[kTaps], top[kTaps];  // offsets of the taps, in bytes
    for (int tap = 0; tap < kTaps; ++tap) {
      across[tap] = tap_weight(taps, tap, column.fraction);
      down[tap] = tap_weight(taps, tap, row.fraction);
      left[tap] = 3 * within(column.pixel - kBefore + tap, size);
      top[tap] = 3 * size * within(row.pixel - kBefore + tap, size);
    }
    for (int channel = 0; channel < 3; ++channel) {
      const std::uint8_t* levels = source + channel;
      float of_column[kTaps];  // in a direction without a shift the pixel itself is used, without weights
      for (int tap = 0; tap < kTaps; ++tap) {
        const std::uint8_t* line = levels + left[tap];
        of_column[tap] = shape == MapShape::rows
                             ? line[top[kBefore]]
                             : weighted_down(down, line[top[0]], line[top[1]], line[top[2]], line[top[3]]);
      }
      const float value = shape == MapShape::columns
                              ? of_column[kBefore]
                              : weighted_across(across, of_column[0], of_column[1], of_column[2], of_column[3]);
      to[channel] = to_level(value + kBeforeTruncation);
    }
  });
}

// One pass of the box filter along lines of pixels that are `step` bytes apart: 3 across, 3 * S down.
template <typename Lanes>
MASKEDKD_KERNEL void box_pass(const Lanes& lanes, const BoxWeights& box, int step, const std::uint8_t* source,
                              std::uint8_t* out, int size) {
  const int row = 3 * size;
  for_each(lanes, row * size, [&](int i) {
    const int at = step == 3 ? i % row / 3 : i / row;
    const std::uint8_t* line = source + i - at * step;
    std::uint32_t inside = 0;
    for (int k = -box.radius; k <= box.radius; ++k) {
      inside += line[within(at + k, size) * step];
    }
    const std::uint32_t ends = static_cast<std::uint32_t>(line[within(at - box.radius - 1, size) * step]) +
                               line[within(at + box.radius + 1, size) * step];
    out[i] = boxed(inside, ends, box);
  });
}

}  // namespace maskedkd::kernel
