// Crops with random plans, and what apply_training_plan() makes of them.
#pragma once

#include "maskedkd/base/philox.hpp"
#include "maskedkd/kernels/augment_images.hpp"

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <random>
#include <string>
#include <vector>

namespace maskedkd::testing {

// Noise, a gradient with noise, or one colour except for one pixel: operations on histograms treat these differently.
inline Image random_image(std::mt19937_64& random, int height, int width) {
  Image image{height, width, std::vector<std::uint8_t>(static_cast<std::size_t>(height) * width * 3)};
  const int kind = static_cast<int>(random() % 3), base = static_cast<int>(random() % 200);
  for (std::size_t i = 0; i < image.pixels.size(); ++i) {
    const auto noise = static_cast<int>(random() % 256);
    const int slope = static_cast<int>(i / 3) * 150 / (height * width);
    image.pixels[i] = static_cast<std::uint8_t>(kind == 0   ? noise
                                                : kind == 1 ? (base + slope + noise / 16) % 256
                                                            : base);
  }
  image.pixels[random() % image.pixels.size()] = static_cast<std::uint8_t>(random());
  return image;
}

// An operation of a kind, with arguments from the whole range that policies draw.
inline ImageOperation random_operation(std::mt19937_64& random, OperationKind kind) {
  const auto uniform = [&](double low, double high) { return std::uniform_real_distribution(low, high)(random); };
  double argument = 0;
  switch (kind) {
    case OperationKind::posterize:
      argument = static_cast<double>(random() % 9);
      break;
    case OperationKind::solarize:
      argument = static_cast<double>(random() % 257);
      break;
    case OperationKind::solarize_add:
      argument = static_cast<double>(random() % 128);
      break;
    case OperationKind::rotate:
      argument = uniform(-180, 180);
      break;
    case OperationKind::shear_x:
    case OperationKind::shear_y:
    case OperationKind::translate_x:
    case OperationKind::translate_y:
      argument = random() % 8 == 0 ? 0 : uniform(-0.5, 0.5);
      break;
    case OperationKind::gaussian_blur:
      argument = random() % 8 == 0 ? 0 : uniform(0.1, 4);
      break;
    default:
      argument = uniform(0, 2);
  }
  return {kind, argument, random() % 2 == 0 ? Interpolation::bicubic : Interpolation::bilinear};
}

struct CropsAndImages {
  RawCrops crops;
  std::vector<std::uint8_t> images;  // [B, S, S, 3], made by apply_training_plan()
};

// Appends to the last piece of memory, with a gap, or to a new one.
inline void add_crop(std::mt19937_64& random, const Image& image, RawCrops& crops) {
  const auto gap = static_cast<std::int64_t>(random() % 40), count = static_cast<std::int64_t>(image.pixels.size());
  if (crops.pieces.empty() || random() % 4 == 0) {
    crops.pieces.push_back(at::empty({0}, at::kByte));
  }
  at::Tensor& piece = crops.pieces.back();
  const std::int64_t offset = piece.numel() + gap;
  const at::Tensor longer = at::zeros({offset + count + 9}, at::kByte);
  longer.narrow(0, 0, piece.numel()).copy_(piece);
  std::copy(image.pixels.begin(), image.pixels.end(), longer.mutable_data_ptr<std::uint8_t>() + offset);
  piece = longer;
  crops.places.push_back({crops.pieces.size() - 1, offset});
}

// Uses the plans unchanged, with crops of their sizes.
inline CropsAndImages crops_of(std::mt19937_64& random, int size, std::vector<TrainingPlan> plans) {
  CropsAndImages result;
  result.crops.input_size = size;
  const auto image_bytes = static_cast<std::size_t>(size) * static_cast<std::size_t>(size) * 3;
  for (TrainingPlan& plan : plans) {
    plan.crop.top = plan.crop.left = 0;
    const Image image = random_image(random, plan.crop.height, plan.crop.width);
    add_crop(random, image, result.crops);
    result.images.resize(result.images.size() + image_bytes);
    apply_training_plan(plan, {image, 0, 0}, size, std::span(result.images).last(image_bytes));
  }
  result.crops.plans = std::move(plans);
  return result;
}

// Plans as training draws them, by one of its recipes, with up to two more operations; crops down to one pixel.
inline CropsAndImages random_crops(std::mt19937_64& random, int count, int size) {
  AugmentOptions options;
  options.input_size = size;
  options.interpolation = InterpolationChoice::random;
  options.three_augment = random() % 3 == 0;
  options.policy = RandAugmentPolicy::parse(random() % 3 == 0 ? "none" : "rand-m9-mstd0.5-inc1-n4-p0.8");
  std::vector<TrainingPlan> plans;
  for (int i = 0; i < count; ++i) {
    const auto side = [&] {
      return 1 + static_cast<int>(random() % static_cast<unsigned>(random() % 4 == 0 ? 3 : 4 * size));
    };
    PhiloxStream stream({random(), RandomPurpose::augmentation, 0, 0, 0, 0});
    TrainingPlan plan = draw_training_plan(stream, side(), side(), options);
    if (random() % 4 == 0) {  // any shape, including shapes that training never draws
      plan.crop = {0, 0, side(), side()};
    }
    for (auto more = random() % 3; more > 0; --more) {
      plan.operations.push_back(random_operation(random, static_cast<OperationKind>(random() % kNumOperationKinds)));
    }
    plans.push_back(std::move(plan));
  }
  return crops_of(random, size, std::move(plans));
}

// The largest difference of two levels, and how many levels differ.
inline std::pair<int, std::size_t> distance(const at::Tensor& images, const std::vector<std::uint8_t>& expected) {
  std::pair<int, std::size_t> result{static_cast<std::size_t>(images.numel()) == expected.size() ? 0 : 256, 0};
  const std::uint8_t* levels = images.const_data_ptr<std::uint8_t>();
  for (std::size_t i = 0; i < expected.size() && result.first < 256; ++i) {
    const int difference = std::abs(int{levels[i]} - int{expected[i]});
    result.first = std::max(result.first, difference);
    result.second += difference != 0 ? 1 : 0;
  }
  return result;
}

}  // namespace maskedkd::testing
