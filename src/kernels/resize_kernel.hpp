// Crop, antialiased resize and flip of one image, by its lanes.
#pragma once

#include "augment_batch.hpp"
#include "maskedkd/codecs/resample_arithmetic.hpp"

namespace maskedkd::kernel {

// Numbers before the weights of an output pixel: where its window begins, and how long it is.
constexpr int kHead = 2;

MASKEDKD_HOST_DEVICE inline int weight_stride(Interpolation interpolation, int input, int output) {
  const double support = interpolation == Interpolation::bilinear ? TriangleFilter::kSupport : CubicFilter::kSupport;
  return kHead + ResampleAxis(support, input, output).longest_window();
}

// Bytes of scratch: the crop's rows resampled across, or a second image; then the weights of both axes.
MASKEDKD_HOST_DEVICE inline std::int64_t image_scratch(int height, int size) {
  const std::int64_t rows = height > size ? height : size;
  return (rows * size * 3 + 3) / 4 * 4;
}
MASKEDKD_HOST_DEVICE inline std::int64_t scratch_bytes(Interpolation interpolation, int height, int width, int size) {
  const std::int64_t strides = weight_stride(interpolation, width, size) + weight_stride(interpolation, height, size);
  return image_scratch(height, size) + strides * size * static_cast<std::int64_t>(sizeof(std::int32_t));
}

// row: [weight_stride]. The weights are added in the same order as on the CPU, which stores the exact ones meanwhile.
template <typename Filter>
MASKEDKD_KERNEL void weights_of(int input, int output, int size, std::int32_t* row) {
  if (input == size) {
    row[0] = output;
    row[1] = 1;
    row[kHead] = 1 << kWeightBits;
    return;
  }
  const ResampleAxis axis(Filter::kSupport, input, size);
  const double inverse = 1.0 / axis.filter_scale, centre = axis.centre(output);
  const WeightWindow window = axis.window(output);
  const auto exact = [&](int i) { return Filter::weight((window.begin + i - centre + 0.5) * inverse); };
  double total = 0.0;
  for (int i = 0; i < window.length; ++i) {
    total += exact(i);
  }
  total = total == 0.0 ? 1.0 : total;
  row[0] = window.begin;
  row[1] = window.length;
  for (int i = 0; i < window.length; ++i) {
    row[kHead + i] = fixed_weight(exact(i) / total);
  }
}

// line: pixels that are `step` bytes apart.
MASKEDKD_KERNEL inline void weigh(const std::uint8_t* line, std::int64_t step, const std::int32_t* row,
                                  std::uint8_t* out) {
  const std::uint8_t* pixel = line + row[0] * step;
  const int length = row[1];
  std::int32_t red = kWeightHalf, green = kWeightHalf, blue = kWeightHalf;
  for (int i = 0; i < length; ++i, pixel += step) {
    const std::int32_t weight = row[kHead + i];
    red += pixel[0] * weight;
    green += pixel[1] * weight;
    blue += pixel[2] * weight;
  }
  out[0] = resampled_level(red);
  out[1] = resampled_level(green);
  out[2] = resampled_level(blue);
}

template <typename Filter, typename Lanes>
MASKEDKD_KERNEL void resize(const Lanes& lanes, const std::uint8_t* crop, const PlannedImage& plan, int size,
                            std::uint8_t* scratch, std::uint8_t* out) {
  const int across_stride = weight_stride(plan.interpolation, plan.width, size);
  const int down_stride = weight_stride(plan.interpolation, plan.height, size);
  auto* across = reinterpret_cast<std::int32_t*>(scratch + image_scratch(plan.height, size));
  std::int32_t* down = across + static_cast<std::int64_t>(across_stride) * size;
  for_each(lanes, size, [&](int output) {
    weights_of<Filter>(plan.width, output, size, across + static_cast<std::int64_t>(output) * across_stride);
    weights_of<Filter>(plan.height, output, size, down + static_cast<std::int64_t>(output) * down_stride);
  });
  const std::int64_t crop_row = std::int64_t{3} * plan.width, row_bytes = std::int64_t{3} * size;
  for_each(lanes, plan.height * size, [&](int i) {
    const int y = i / size, x = i % size;
    weigh(crop + y * crop_row, 3, across + static_cast<std::int64_t>(x) * across_stride, scratch + std::int64_t{3} * i);
  });
  for_each(lanes, size * size, [&](int i) {
    const int y = i / size, x = i % size;
    const int out_x = plan.flip ? size - 1 - x : x;
    weigh(scratch + 3 * x, row_bytes, down + static_cast<std::int64_t>(y) * down_stride,
          out + y * row_bytes + 3 * out_x);
  });
}

}  // namespace maskedkd::kernel
