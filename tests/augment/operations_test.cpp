// Compares every operation with PIL on images of many sizes, 100 cases each; MASKEDKD_OPERATION_CASES=1000 builds and
// compares as many.
#include "codecs/reference.hpp"
#include "maskedkd/augment/augment.hpp"
#include "support/process.hpp"
#include "support/temporary_directory.hpp"

#include <cstdlib>
#include <memory>
#include <random>

namespace maskedkd::testing {
namespace {

// One in 2000 values of sampled images lies just below a level and is rounded up to it. There are more if the fraction
// is a round decimal and two levels are far apart, where PIL's rounding decides whether it reaches the level.
constexpr double kMostDifferent = 0.004;

class Operations : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    const char* cases = std::getenv("MASKEDKD_OPERATION_CASES");
    if (cases != nullptr) {
      num_cases_ = std::atoi(cases);
      folder_ = std::make_unique<TemporaryDirectory>();
      const std::string script = std::string(MASKEDKD_SOURCE_DIR) + "/tests/augment/reference.py";
      const ProcessResult result =
          run_process({MASKEDKD_PYTHON, script, folder_->path().string(), std::to_string(num_cases_)}, 1800);
      ASSERT_EQ(result.exit_code, 0) << result.output;
    }
  }
  static void TearDownTestSuite() { folder_.reset(); }

  static Tensors cases_of(OperationKind kind) {
    const std::string name = "operation_" + std::string(to_string(kind)) + ".safetensors";
    return folder_ ? read_safetensors(folder_->path() / name).tensors : reference(name);
  }

  static int num_cases_;
  static std::unique_ptr<TemporaryDirectory> folder_;
};
int Operations::num_cases_ = 100;
std::unique_ptr<TemporaryDirectory> Operations::folder_;

TEST_F(Operations, GivePilsPixels) {
  for (int number = 0; number < kNumOperationKinds; ++number) {
    const auto kind = static_cast<OperationKind>(number);
    const Tensors cases = cases_of(kind);
    Difference all;
    for (int i = 0; i < num_cases_; ++i) {
      const std::string name = std::to_string(i);
      Image image = image_of(cases.at(name + ".image"));
      const auto operation = values_of<double>(cases.at(name + ".operation"));
      apply_operation({kind, operation[0], operation[1] != 0 ? Interpolation::bicubic : Interpolation::bilinear},
                      image.pixels, image.height, image.width);
      Difference one;
      one.add(image.pixels, values_of<std::uint8_t>(cases.at(name + ".result")));
      all.add(image.pixels, values_of<std::uint8_t>(cases.at(name + ".result")));
      ASSERT_LE(one.largest, is_geometric(kind) ? 1 : 0) << to_string(kind) << " by " << operation[0] << " of "
                                                         << image.width << " x " << image.height << ", case " << i;
    }
    const double share = static_cast<double>(all.num_different) / static_cast<double>(all.num_values);
    std::printf("%-12s %9zu values, %zu differ by one level (%.4f %%)\n", to_string(kind).data(), all.num_values,
                all.num_different, 100 * share);
    EXPECT_LE(share, kMostDifferent) << to_string(kind);
  }
}

// Computes pixel by pixel, with the header's arithmetic, what the CPU's loops do in vectors and in parts: a kernel that
// does the same has the same bits.
std::vector<std::uint8_t> sampled_by_pixels(const ImageOperation& operation, const Image& image) {
  const AffineMap map = affine_map(operation, image.height, image.width);
  const TapPolynomials taps = operation.interpolation == Interpolation::bilinear ? linear_taps() : cubic_taps();
  const MapShape shape = shape_of(map);
  const auto level = [&](int y, int x, int channel) {
    y = std::clamp(y, 0, image.height - 1);
    x = std::clamp(x, 0, image.width - 1);
    return static_cast<float>(image.pixels[static_cast<std::size_t>((y * image.width + x) * 3 + channel)]);
  };
  std::vector<std::uint8_t> result(image.pixels.size());
  for (int y = 0; y < image.height; ++y) {
    for (int x = 0; x < image.width; ++x) {
      const SamplePoint still_x{x, 0, true}, still_y{y, 0, true};
      const SamplePoint across = shape == MapShape::columns ? still_x
                                 : shape == MapShape::rows  ? shifted_point(map.xy, map.x0, x, y, image.width)
                                                            : sample_point(map.xx, map.xy, map.x0, x, y, image.width);
      const SamplePoint down = shape == MapShape::rows      ? still_y
                               : shape == MapShape::columns ? shifted_point(map.yx, map.y0, y, x, image.height)
                                                            : sample_point(map.yy, map.yx, map.y0, y, x, image.height);
      float wx[4], wy[4];
      for (int tap = 0; tap < 4; ++tap) {
        wx[tap] = tap_weight(taps, tap, across.fraction);
        wy[tap] = tap_weight(taps, tap, down.fraction);
      }
      for (int channel = 0; channel < 3; ++channel) {
        float column[4];
        for (int tap = 0; tap < 4; ++tap) {
          const auto at = [&](int row) { return level(down.pixel - 1 + row, across.pixel - 1 + tap, channel); };
          column[tap] = weighted_down(wy, at(0), at(1), at(2), at(3));
        }
        result[static_cast<std::size_t>((y * image.width + x) * 3 + channel)] =
            across.inside && down.inside
                ? to_level(weighted_across(wx, column[0], column[1], column[2], column[3]) + kBeforeTruncation)
                : kFillColour[static_cast<std::size_t>(channel)];
      }
    }
  }
  return result;
}

TEST_F(Operations, SamplingHasTheBitsOfTheHeadersArithmetic) {
  std::mt19937 random(5);
  const auto uniform = [&](double low, double high) { return std::uniform_real_distribution(low, high)(random); };
  for (int round = 0; round < 20; ++round) {
    for (const OperationKind kind : {OperationKind::rotate, OperationKind::shear_x, OperationKind::shear_y,
                                     OperationKind::translate_x, OperationKind::translate_y}) {
      Image image{static_cast<int>(uniform(1, 90)), static_cast<int>(uniform(1, 90)), {}};
      image.pixels.resize(static_cast<std::size_t>(image.height) * image.width * 3);
      std::generate(image.pixels.begin(), image.pixels.end(), [&] { return static_cast<std::uint8_t>(random()); });
      const ImageOperation operation{kind, kind == OperationKind::rotate ? uniform(-200, 200) : uniform(-0.7, 0.7),
                                     round % 2 == 0 ? Interpolation::bicubic : Interpolation::bilinear};
      const auto expected = sampled_by_pixels(operation, image);
      apply_operation(operation, image.pixels, image.height, image.width);
      ASSERT_EQ(image.pixels, expected) << to_string(kind) << " by " << operation.argument << " of " << image.width
                                        << " x " << image.height;
    }
  }
}

TEST_F(Operations, AreAppliedAfterCropAndFlipAsInPilsPipeline) {
  const Tensors cases = reference("pipelines.safetensors");
  Difference all;
  int num_cases = 0;
  for (; cases.count(std::to_string(num_cases) + ".image") != 0; ++num_cases) {
    const std::string name = std::to_string(num_cases);
    const Image image = image_of(cases.at(name + ".image"));
    const auto crop = values_of<std::int32_t>(cases.at(name + ".crop"));
    const auto interpolation = [](double bicubic) {
      return bicubic != 0 ? Interpolation::bicubic : Interpolation::bilinear;
    };
    TrainingPlan plan{{crop[0], crop[1], crop[2], crop[3]}, crop[5] != 0, {}, interpolation(crop[4])};
    const auto steps = values_of<double>(cases.at(name + ".steps"));
    for (std::size_t k = 0; k < steps.size(); k += 3) {
      plan.operations.push_back({static_cast<OperationKind>(steps[k]), steps[k + 1], interpolation(steps[k + 2])});
    }
    const auto expected = values_of<std::uint8_t>(cases.at(name + ".result"));
    const int size = static_cast<int>(cases.at(name + ".result").size(0));
    std::vector<std::uint8_t> result(expected.size());
    apply_training_plan(plan, {image, 0, 0}, size, result);
    Difference one;
    one.add(result, expected);
    all.add(result, expected);
    EXPECT_LE(one.largest, is_geometric(plan.operations.back().kind) ? 1 : 0) << "case " << name;
  }
  ASSERT_EQ(num_cases, 60);
  EXPECT_LE(static_cast<double>(all.num_different), kMostDifferent * static_cast<double>(all.num_values));
}

}  // namespace
}  // namespace maskedkd::testing
