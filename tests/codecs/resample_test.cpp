#include "codecs/resample_path.hpp"
#include "reference.hpp"

#include <cstdlib>
#include <random>

namespace maskedkd::testing {
namespace {

// All implementations that this processor supports; the last one is used by crop_and_resize().
std::vector<ResamplePath> paths() {
  std::vector<ResamplePath> all;
  for (const ResamplePath path : kResamplePaths) {
    if (can_resample_by(path)) {
      all.push_back(path);
    }
  }
  return all;
}

std::vector<std::uint8_t> resampled_by(ResamplePath path, const ImageRegion& region, const PixelBox& box,
                                       int full_height, int full_width, const PixelBox& window,
                                       Interpolation interpolation) {
  std::vector<std::uint8_t> out(static_cast<std::size_t>(window.height) * window.width * 3);
  crop_and_resize_by(path, region, box, full_height, full_width, window, interpolation, out);
  return out;
}

TEST(Resample, EveryImplementationEqualsPilOn500SizesAndBoxes) {
  const Tensors cases = reference("resample.safetensors");
  for (const ResamplePath path : paths()) {
    int num_cases = 0;
    for (; cases.count(std::to_string(num_cases) + ".image") != 0; ++num_cases) {
      const std::string name = std::to_string(num_cases);
      const auto values = values_of<std::int32_t>(cases.at(name + ".box"));
      const PixelBox box{values[0], values[1], values[2], values[3]};
      const Image expected = image_of(cases.at(name + ".result"));
      const Interpolation interpolation = num_cases < 400 ? Interpolation::bicubic : Interpolation::bilinear;
      const ImageRegion image{image_of(cases.at(name + ".image")), 0, 0};
      EXPECT_EQ(resampled_by(path, image, box, expected.height, expected.width, {0, 0, expected.height, expected.width},
                             interpolation),
                expected.pixels)
          << "path " << static_cast<int>(path) << ", case " << name << ", " << box.width << " x " << box.height
          << " to " << expected.width << " x " << expected.height;
    }
    ASSERT_EQ(num_cases, 500);
  }
}

Image noise(std::mt19937_64& random, int height, int width) {
  Image image{height, width, std::vector<std::uint8_t>(static_cast<std::size_t>(height) * width * 3)};
  const bool hard = random() % 2 == 0;  // only black and white, for the most extreme sums
  for (std::uint8_t& value : image.pixels) {
    value = hard ? static_cast<std::uint8_t>(random() % 2 * 255) : static_cast<std::uint8_t>(random());
  }
  return image;
}

ImageRegion cut(const Image& image, const PixelBox& box) {
  ImageRegion region{{box.height, box.width, {}}, box.top, box.left};
  for (int y = box.top; y < box.top + box.height; ++y) {
    const auto row = image.pixels.begin() + (static_cast<std::ptrdiff_t>(y) * image.width + box.left) * 3;
    region.part.pixels.insert(region.part.pixels.end(), row, row + static_cast<std::ptrdiff_t>(box.width) * 3);
  }
  return region;
}

// A region with exactly the pixels_needed() gives the window of the whole image. MASKEDKD_RESAMPLES=N sets the number
// of cases.
TEST(Resample, EveryImplementationGivesTheSameBitsFromThePixelsNeeded) {
  const char* setting = std::getenv("MASKEDKD_RESAMPLES");
  const int num_cases = setting != nullptr ? std::atoi(setting) : 1000;
  std::mt19937_64 random(7);
  const auto below = [&](int bound) { return static_cast<int>(random() % static_cast<std::uint64_t>(bound)); };
  for (int i = 0; i < num_cases; ++i) {
    const int limit = i % 10 == 0 ? 600 : 90;
    const Image image = noise(random, 1 + below(limit), 1 + below(limit));
    PixelBox box{0, 0, 1 + below(image.height), 1 + below(image.width)};
    box.top = below(image.height - box.height + 1);
    box.left = below(image.width - box.width + 1);
    const int full_height = i % 7 == 0 ? box.height : 1 + below(limit);
    const int full_width = i % 5 == 0 ? box.width : 1 + below(limit);
    PixelBox window{0, 0, 1 + below(full_height), 1 + below(full_width)};
    window.top = below(full_height - window.height + 1);
    window.left = below(full_width - window.width + 1);
    const Interpolation interpolation = i % 2 == 0 ? Interpolation::bicubic : Interpolation::bilinear;
    const auto whole = resampled_by(ResamplePath::portable, {image, 0, 0}, box, full_height, full_width,
                                    {0, 0, full_height, full_width}, interpolation);
    const Image expected = cut({full_height, full_width, whole}, window).part;
    const ImageRegion region = cut(image, pixels_needed(box, full_height, full_width, window, interpolation));
    for (const ResamplePath path : paths()) {
      ASSERT_EQ(resampled_by(path, region, box, full_height, full_width, window, interpolation), expected.pixels)
          << "path " << static_cast<int>(path) << ", case " << i << ", " << to_string(interpolation) << ", "
          << box.width << " x " << box.height << " to " << full_width << " x " << full_height;
    }
  }
}

// More rows, columns and weights than the vectors process at a time.
TEST(Resample, EveryImplementationGivesTheSameBitsForLargeImages) {
  std::mt19937_64 random(8);
  for (const auto& [height, width] : {std::pair(3000, 70), {70, 3000}, {1100, 1300}, {2, 70000}}) {
    const ImageRegion image{noise(random, height, width), 0, 0};
    const PixelBox box{0, 0, height, width};
    for (const auto& [out_height, out_width] : {std::pair(5, 7), {224, 224}}) {
      const PixelBox all{0, 0, out_height, out_width};
      const auto expected =
          resampled_by(ResamplePath::portable, image, box, out_height, out_width, all, Interpolation::bicubic);
      for (const ResamplePath path : paths()) {
        EXPECT_EQ(resampled_by(path, image, box, out_height, out_width, all, Interpolation::bicubic), expected);
      }
    }
  }
}

TEST(Resample, ResizingToTheSameSizeChangesNothing) {
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
