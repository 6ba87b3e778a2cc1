#include "maskedkd/augment/augment.hpp"
#include "codecs/reference.hpp"
#include "maskedkd/base/error.hpp"
#include "statistics.hpp"

#include <optional>

namespace maskedkd::testing {
namespace {

PhiloxStream stream(std::uint32_t number) {
  return PhiloxStream({11, RandomPurpose::augmentation, number >> 16, 5, 0, number & 0xFFFF});
}

// The values of one column of [n, 4] boxes; column 4 is their area.
std::vector<double> column_of(const std::vector<std::int32_t>& boxes, std::size_t column) {
  std::vector<double> values;
  for (std::size_t i = 0; i < boxes.size(); i += 4) {
    values.push_back(column < 4 ? boxes[i + column] : double{1} * boxes[i + 2] * boxes[i + 3]);
  }
  return values;
}

void add(std::vector<std::int32_t>& boxes, const PixelBox& box) {
  boxes.insert(boxes.end(), {box.top, box.left, box.height, box.width});
}

TEST(Augment, EvaluationIsTorchvisionsResizeAndCentreCrop) {
  const Tensors cases = reference("evaluation.safetensors");
  Difference all;
  int num_cases = 0;
  for (; cases.count(std::to_string(num_cases) + ".image") != 0; ++num_cases) {
    const std::string name = std::to_string(num_cases);
    const Image image = image_of(cases.at(name + ".image"));
    const auto options = values_of<double>(cases.at(name + ".options"));
    AugmentOptions augment;
    augment.input_size = static_cast<int>(options[0]);
    augment.evaluation_crop = options[1];
    const auto expected = values_of<std::uint8_t>(cases.at(name + ".result"));
    std::vector<std::uint8_t> result(expected.size());
    apply_evaluation_plan(plan_evaluation(image.height, image.width, augment), {image, 0, 0}, result);
    Difference one;
    one.add(result, expected);
    all.add(result, expected);
    EXPECT_LE(one.largest, 1) << image.width << " x " << image.height << " to " << options[0];
  }
  ASSERT_EQ(num_cases, 48);
  std::printf("%zu of %zu values differ from torchvision's, by at most %d\n", all.num_different, all.num_values,
              all.largest);
}

// Resized as a whole, these images would take 200 GB and more.
TEST(Augment, EvaluationOfAVeryLongImageTakesLittleMemory) {
  const AugmentOptions augment;
  std::vector<std::uint8_t> result(224 * 224 * 3);
  for (const auto& [height, width] : {std::pair(1, 1000000), {1000000, 1}, {3, 2000000}}) {
    Image image{height, width, std::vector<std::uint8_t>(static_cast<std::size_t>(height) * width * 3, 10)};
    image.pixels[(static_cast<std::size_t>(height / 2) * width + width / 2) * 3] = 255;  // red, in the centre
    apply_evaluation_plan(plan_evaluation(image.height, image.width, augment), {image, 0, 0}, result);
    for (std::size_t i = 0; i < result.size(); ++i) {
      ASSERT_TRUE(i % 3 == 0 || result[i] == 10);
    }
    EXPECT_GT(result[(112 * 224 + 112) * 3], 100) << width << " x " << height;
  }
  const Image longest{1, 1 << 26, std::vector<std::uint8_t>(std::size_t{3} << 26)};
  EXPECT_THROW(plan_evaluation(longest.height, longest.width, augment), Error);
}

TEST(Augment, CropsAreDistributedAsTorchvisions) {
  const Tensors reference_boxes = reference("geometry.safetensors");
  for (int i = 0; i < 5; ++i) {
    const std::string name = "crop." + std::to_string(i);
    const auto shape = values_of<double>(reference_boxes.at(name + ".options"));
    const int height = static_cast<int>(shape[0]), width = static_cast<int>(shape[1]);
    AugmentOptions options;
    options.crop_min_area = shape[2];
    options.crop_max_area = shape[3];
    std::vector<std::int32_t> boxes;
    for (std::uint32_t draw = 0; draw < 100000; ++draw) {
      PhiloxStream random = stream(draw);
      const PixelBox box = draw_training_plan(random, height, width, options).crop;
      ASSERT_GE(box.top, 0);
      ASSERT_GE(box.left, 0);
      ASSERT_GE(box.height, 1);
      ASSERT_GE(box.width, 1);
      ASSERT_LE(box.top + box.height, height);
      ASSERT_LE(box.left + box.width, width);
      add(boxes, box);
    }
    const auto expected = values_of<std::int32_t>(reference_boxes.at(name + ".boxes"));
    for (std::size_t column = 0; column < 5; ++column) {
      EXPECT_LT(distance_of_samples(column_of(boxes, column), column_of(expected, column)), 1)
          << width << " x " << height << ", column " << column;
    }
  }
}

TEST(Augment, AnImageThatNoCropFitsGetsTheCentralOne) {
  const Tensors reference_boxes = reference("geometry.safetensors");
  int num_shapes = 0;
  for (int i = 5; i < 10; ++i) {
    const std::string name = "crop." + std::to_string(i);
    const auto shape = values_of<double>(reference_boxes.at(name + ".options"));
    const auto expected = values_of<std::int32_t>(reference_boxes.at(name + ".boxes"));
    AugmentOptions options;
    options.crop_min_area = shape[2];
    options.crop_max_area = shape[3];
    bool always_central = true;
    for (std::size_t k = 4; k < expected.size(); ++k) {
      always_central = always_central && expected[k] == expected[k - 4];
    }
    if (!always_central) {
      continue;
    }
    ++num_shapes;
    for (std::uint32_t draw = 0; draw < 100; ++draw) {
      PhiloxStream random = stream(draw);
      const PixelBox box =
          draw_training_plan(random, static_cast<int>(shape[0]), static_cast<int>(shape[1]), options).crop;
      EXPECT_EQ(box, (PixelBox{expected[0], expected[1], expected[2], expected[3]})) << shape[1] << " x " << shape[0];
    }
  }
  EXPECT_GE(num_shapes, 3);
}

// Closed form: the area is U(0.08, 1) of the image's. In this range even the crop with the longest side fits, so no
// draw is rejected.
TEST(Augment, AreaAndAspectHaveTheMomentsOfTheirDistributions) {
  AugmentOptions options;
  options.crop_max_area = 0.5;  // sqrt(0.5 * 4 / 3) < 1: the first try always fits
  constexpr int kSide = 2000, kDraws = 200000;
  double area = 0, area_squared = 0, log_aspect = 0, log_aspect_squared = 0, flips = 0, central = 0;
  for (std::uint32_t draw = 0; draw < kDraws; ++draw) {
    PhiloxStream random = stream(draw);
    const TrainingPlan plan = draw_training_plan(random, kSide, kSide, options);
    const double share = double{1} * plan.crop.height * plan.crop.width / (double{1} * kSide * kSide);
    const double aspect = std::log(static_cast<double>(plan.crop.width) / plan.crop.height);
    area += share / kDraws;
    area_squared += share * share / kDraws;
    log_aspect += aspect / kDraws;
    log_aspect_squared += aspect * aspect / kDraws;
    flips += plan.flip ? 1.0 / kDraws : 0;
    central += static_cast<double>(plan.crop.top) / (kSide - plan.crop.height) / kDraws;
  }
  const double low = 0.08, high = 0.5, span = std::log(4.0 / 3.0);
  EXPECT_NEAR(area, (low + high) / 2, 0.002);
  EXPECT_NEAR(area_squared, (high * high * high - low * low * low) / (3 * (high - low)), 0.002);
  EXPECT_NEAR(log_aspect, 0, 0.002);
  EXPECT_NEAR(log_aspect_squared, span * span / 3, 0.001);
  EXPECT_NEAR(flips, 0.5, 0.005);
  EXPECT_NEAR(central, 0.5, 0.004);
}

TEST(Augment, ErasedBoxesAreDistributedAsTimms) {
  const Tensors reference_boxes = reference("geometry.safetensors");
  for (int i = 0; i < 4; ++i) {
    const std::string name = "erase." + std::to_string(i);
    const auto values = values_of<double>(reference_boxes.at(name + ".options"));
    AugmentOptions options;
    options.input_size = static_cast<int>(values[0]);
    options.erasing_probability = values[1];
    std::vector<std::int32_t> boxes;
    for (std::uint32_t draw = 0; draw < 100000; ++draw) {
      PhiloxStream random = stream(draw);
      const auto boxes_of_image = draw_training_plan(random, 300, 400, options).erase;
      ASSERT_LE(boxes_of_image.size(), 1U);
      const std::optional<PixelBox> box = boxes_of_image.empty() ? std::nullopt : std::optional(boxes_of_image.front());
      if (box) {
        ASSERT_TRUE(box->top >= 0 && box->left >= 0 && box->height >= 0 && box->width >= 0);
        ASSERT_LT(box->height, options.input_size);
        ASSERT_LT(box->width, options.input_size);
        ASSERT_LE(box->top + box->height, options.input_size);
        ASSERT_LE(box->left + box->width, options.input_size);
      }
      // As in timm, a box whose side is rounded to 0 erases nothing.
      const bool erases = box && box->height > 0 && box->width > 0;
      add(boxes, erases ? *box : PixelBox{-1, -1, -1, -1});
    }
    const auto expected = values_of<std::int32_t>(reference_boxes.at(name + ".boxes"));
    for (std::size_t column = 0; column < 5; ++column) {
      EXPECT_LT(distance_of_samples(column_of(boxes, column), column_of(expected, column)), 1)
          << "size " << options.input_size << ", column " << column;
    }
  }
}

TEST(Augment, AFlippedPlanIsTheMirrorOfTheSamePlan) {
  const Image image = image_of(reference("evaluation.safetensors").at("13.image"));
  for (const int size : {1, 2, 33, 224}) {
    TrainingPlan plan{{5, 9, 200, 301}};
    const auto bytes = static_cast<std::size_t>(size) * size * 3;
    std::vector<std::uint8_t> straight(bytes), mirrored(bytes);
    apply_training_plan(plan, {image, 0, 0}, size, straight);
    EXPECT_EQ(straight, resized(image, plan.crop, size, size).pixels);
    plan.flip = true;
    apply_training_plan(plan, {image, 0, 0}, size, mirrored);
    for (int y = 0; y < size; ++y) {
      for (int x = 0; x < size; ++x) {
        for (int c = 0; c < 3; ++c) {
          ASSERT_EQ(mirrored[(y * size + x) * 3 + c], straight[(y * size + size - 1 - x) * 3 + c]);
        }
      }
    }
  }
}

TEST(Augment, OptionsOutOfRangeNameTheirFlag) {
  const auto message = [](auto change) {
    AugmentOptions options;
    change(options);
    try {
      options.validate();
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::usage);
      return std::string(error.what());
    }
    return std::string();
  };
  EXPECT_EQ(message([](AugmentOptions&) {}), "");
  EXPECT_NE(message([](AugmentOptions& o) { o.input_size = 0; }).find("--input-size"), std::string::npos);
  EXPECT_NE(message([](AugmentOptions& o) { o.crop_min_area = 0; }).find("--crop-min-area"), std::string::npos);
  EXPECT_NE(message([](AugmentOptions& o) { o.crop_max_area = 1.1; }).find("--crop-max-area"), std::string::npos);
  EXPECT_NE(message([](AugmentOptions& o) { o.flip_probability = -1; }).find("--flip"), std::string::npos);
  EXPECT_NE(message([](AugmentOptions& o) { o.erasing_probability = std::nan(""); }).find("--erasing"),
            std::string::npos);
  EXPECT_NE(message([](AugmentOptions& o) { o.evaluation_crop = 0; }).find("--eval-crop"), std::string::npos);
}

}  // namespace
}  // namespace maskedkd::testing
