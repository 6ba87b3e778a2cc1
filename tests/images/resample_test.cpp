#include "reference.hpp"

namespace maskedkd::testing {
namespace {

TEST(Resample, IsPilsBicubicOn400SizesAndBoxes) {
  const Tensors cases = reference("resample.safetensors");
  Difference all;
  int num_cases = 0, num_equal = 0;
  for (; cases.count(std::to_string(num_cases) + ".image") != 0; ++num_cases) {
    const std::string name = std::to_string(num_cases);
    const auto box = values_of<std::int32_t>(cases.at(name + ".box"));
    const Image expected = image_of(cases.at(name + ".result"));
    const Image result =
        resized(image_of(cases.at(name + ".image")), {box[0], box[1], box[2], box[3]}, expected.height, expected.width);
    ASSERT_EQ(result.height, expected.height);
    ASSERT_EQ(result.width, expected.width);
    Difference one;
    one.add(result.pixels, expected.pixels);
    all.add(result.pixels, expected.pixels);
    EXPECT_LE(one.largest, 1) << "case " << name << ", box of " << box[3] << " x " << box[2] << " to " << result.width
                              << " x " << result.height;
    num_equal += one.num_different == 0 ? 1 : 0;
  }
  ASSERT_EQ(num_cases, 400);
  std::printf("%d of %d images equal PIL's in every byte; %zu of %zu values differ, by at most %d\n", num_equal,
              num_cases, all.num_different, all.num_values, all.largest);
}

TEST(Resample, TheWholeImageAtItsOwnSizeIsItself) {
  const Tensors cases = reference("resample.safetensors");
  const Image image = image_of(cases.at("3.image"));
  EXPECT_EQ(resized(image, {0, 0, image.height, image.width}, image.height, image.width).pixels, image.pixels);
}

TEST(Resample, AFlatImageStaysFlatAtEveryScale) {
  for (const int level : {0, 1, 127, 254, 255}) {
    const Image flat{41, 29, std::vector<std::uint8_t>(41 * 29 * 3, static_cast<std::uint8_t>(level))};
    for (const auto& [height, width] : {std::pair(1, 1), {5, 200}, {200, 5}, {40, 30}, {300, 301}}) {
      const Image result = resized(flat, {3, 2, 37, 26}, height, width);
      for (const std::uint8_t value : result.pixels) {
        ASSERT_EQ(value, level) << width << " x " << height;
      }
    }
  }
}

}  // namespace
}  // namespace maskedkd::testing
