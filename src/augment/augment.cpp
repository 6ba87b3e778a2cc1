#include "maskedkd/augment/augment.hpp"

#include "maskedkd/base/error.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

namespace maskedkd {
namespace {

constexpr int kTries = 10;
constexpr double kThreeAugmentThreshold = 128;
constexpr double kThreeAugmentLeastBlur = 0.1;
constexpr double kThreeAugmentMostBlur = 2.0;
constexpr double kSmallestAspect = 3.0 / 4.0;
constexpr double kLargestAspect = 4.0 / 3.0;
constexpr double kErasingMinArea = 0.02;
constexpr double kErasingMaxArea = 1.0 / 3.0;
constexpr double kErasingMinAspect = 0.3;

// Python's round(): half to even.
int rounded(double value) { return static_cast<int>(std::nearbyint(value)); }

int below(PhiloxStream& random, int bound) { return static_cast<int>(random.below(static_cast<std::uint32_t>(bound))); }

PixelBox draw_crop(PhiloxStream& random, int height, int width, const AugmentOptions& options) {
  const double area = static_cast<double>(height) * width;
  for (int attempt = 0; attempt < kTries; ++attempt) {
    const double target = area * random.uniform(options.crop_min_area, options.crop_max_area);
    const double aspect = std::exp(random.uniform(std::log(kSmallestAspect), std::log(kLargestAspect)));
    const int crop_width = rounded(std::sqrt(target * aspect));
    const int crop_height = rounded(std::sqrt(target / aspect));
    if (crop_width > 0 && crop_width <= width && crop_height > 0 && crop_height <= height) {
      const int top = below(random, height - crop_height + 1);
      const int left = below(random, width - crop_width + 1);
      return {top, left, crop_height, crop_width};
    }
  }
  const double aspect = static_cast<double>(width) / height;
  int crop_height = height, crop_width = width;
  if (aspect < kSmallestAspect) {
    crop_height = rounded(width / kSmallestAspect);
  } else if (aspect > kLargestAspect) {
    crop_width = rounded(height * kLargestAspect);
  }
  return {(height - crop_height) / 2, (width - crop_width) / 2, crop_height, crop_width};
}

std::vector<PixelBox> draw_erasures(PhiloxStream& random, const AugmentOptions& options) {
  if (random.uniform() >= options.erasing_probability) {
    return {};
  }
  const int count = options.erasing_count > 1 ? 1 + below(random, options.erasing_count) : 1;
  const int size = options.input_size;
  std::vector<PixelBox> boxes;
  for (int box = 0; box < count; ++box) {
    for (int attempt = 0; attempt < kTries; ++attempt) {
      const double target = random.uniform(kErasingMinArea, kErasingMaxArea) * size * size / count;
      const double aspect = std::exp(random.uniform(std::log(kErasingMinAspect), -std::log(kErasingMinAspect)));
      const int height = rounded(std::sqrt(target * aspect));
      const int width = rounded(std::sqrt(target / aspect));
      if (width < size && height < size) {
        const int top = below(random, size - height + 1);
        const int left = below(random, size - width + 1);
        boxes.push_back({top, left, height, width});
        break;
      }
    }
  }
  return boxes;
}

// In random order, each by its own random factor.
void draw_color_jitter(PhiloxStream& random, double strength, std::vector<ImageOperation>& operations) {
  if (strength == 0) {
    return;
  }
  std::array kinds = {OperationKind::brightness, OperationKind::contrast, OperationKind::color};
  for (int last = 2; last > 0; --last) {
    std::swap(kinds[last], kinds[below(random, last + 1)]);
  }
  for (const OperationKind kind : kinds) {
    operations.push_back({kind, random.uniform(std::max(0.0, 1.0 - strength), 1.0 + strength)});
  }
}

ImageOperation draw_three_augment(PhiloxStream& random) {
  switch (random.below(3)) {
    case 0:
      return {OperationKind::grayscale};
    case 1:
      return {OperationKind::solarize, kThreeAugmentThreshold};
    default:
      return {OperationKind::gaussian_blur, random.uniform(kThreeAugmentLeastBlur, kThreeAugmentMostBlur)};
  }
}

std::vector<ImageOperation> draw_operations(PhiloxStream& random, const AugmentOptions& options) {
  std::vector<ImageOperation> operations;
  if (options.three_augment) {
    operations.push_back(draw_three_augment(random));
  } else {
    draw_rand_augment(random, options.policy, options.interpolation, operations);
  }
  if (options.three_augment || options.policy.allows_color_jitter()) {
    draw_color_jitter(random, options.color_jitter, operations);
  }
  return operations;
}

void flip_rows(std::uint8_t* pixels, int height, int width) {
  for (int y = 0; y < height; ++y) {
    std::uint8_t* row = pixels + static_cast<std::size_t>(y) * width * 3;
    for (int x = 0; x < width / 2; ++x) {
      std::swap_ranges(row + 3 * x, row + 3 * x + 3, row + 3 * (width - 1 - x));
    }
  }
}

}  // namespace

void AugmentOptions::validate() const {
  const auto require = [](bool good, const std::string& message) {
    if (!good) {
      throw usage_error(message);
    }
  };
  require(input_size >= 1, fmt::format("--input-size {} must be at least 1", input_size));
  require(crop_min_area > 0 && crop_min_area <= crop_max_area && crop_max_area <= 1,
          fmt::format("--crop-min-area {} and --crop-max-area {} must increase within (0, 1]", crop_min_area,
                      crop_max_area));
  require(flip_probability >= 0 && flip_probability <= 1,
          fmt::format("--flip {} must lie in [0, 1]", flip_probability));
  require(erasing_probability >= 0 && erasing_probability <= 1,
          fmt::format("--erasing {} must lie in [0, 1]", erasing_probability));
  require(erasing_count >= 1 && erasing_count <= 64,
          fmt::format("--erasing-count {} must lie in [1, 64]", erasing_count));
  require(color_jitter >= 0 && std::isfinite(color_jitter),
          fmt::format("--color-jitter {} must not be below 0", color_jitter));
  require(evaluation_crop > 0 && evaluation_crop <= 1,
          fmt::format("--eval-crop {} must lie in (0, 1]", evaluation_crop));
}

TrainingPlan draw_training_plan(PhiloxStream& random, int height, int width, const AugmentOptions& options) {
  TrainingPlan plan;
  plan.crop = draw_crop(random, height, width, options);
  plan.flip = random.uniform() < options.flip_probability;
  plan.erase = draw_erasures(random, options);
  plan.interpolation = draw_interpolation(random, options.interpolation);
  plan.operations = draw_operations(random, options);
  return plan;
}

void apply_training_plan(const TrainingPlan& plan, const ImageRegion& image, int input_size,
                         std::span<std::uint8_t> out) {
  crop_and_resize(image, plan.crop, input_size, input_size, {0, 0, input_size, input_size}, plan.interpolation, out);
  if (plan.flip) {
    flip_rows(out.data(), input_size, input_size);
  }
  for (const ImageOperation& operation : plan.operations) {
    apply_operation(operation, out, input_size, input_size);
  }
}

EvaluationPlan plan_evaluation(int height, int width, const AugmentOptions& options) {
  const int size = options.input_size;
  const int shorter = static_cast<int>(size / options.evaluation_crop);
  const bool is_wide = height < width;
  const std::int64_t longer = is_wide ? std::int64_t{shorter} * width / height : std::int64_t{shorter} * height / width;
  if (longer > std::numeric_limits<int>::max()) {
    throw Error(fmt::format("an image of {} x {} pixels is too long to be resized", width, height));
  }
  EvaluationPlan plan;
  plan.whole = {0, 0, height, width};
  plan.full_height = is_wide ? shorter : static_cast<int>(longer);
  plan.full_width = is_wide ? static_cast<int>(longer) : shorter;
  // Only the longer edge can be cut: with evaluation_crop <= 1 the shorter one is at least `size`.
  plan.window = {rounded((plan.full_height - size) / 2.0), rounded((plan.full_width - size) / 2.0), size, size};
  plan.needed = pixels_needed(plan.whole, plan.full_height, plan.full_width, plan.window, Interpolation::bicubic);
  return plan;
}

void apply_evaluation_plan(const EvaluationPlan& plan, const ImageRegion& image, std::span<std::uint8_t> out) {
  crop_and_resize(image, plan.whole, plan.full_height, plan.full_width, plan.window, Interpolation::bicubic, out);
}

}  // namespace maskedkd
