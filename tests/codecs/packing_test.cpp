#include "maskedkd/base/error.hpp"
#include "reference.hpp"

namespace maskedkd::testing {
namespace {

TEST(Packing, FilesEqualThoseThatPilWrites) {
  const Tensors cases = reference("packing.safetensors");
  int num_cases = 0, num_same_bytes = 0;
  for (; cases.count(std::to_string(num_cases) + ".image") != 0; ++num_cases) {
    const std::string name = std::to_string(num_cases);
    const Image image = image_of(cases.at(name + ".image"));
    const int quality = values_of<std::int32_t>(cases.at(name + ".quality"))[0];
    const std::vector<std::uint8_t> file = encode_jpeg(image, quality);
    const Image decoded = decode_image(file);
    EXPECT_EQ(decoded.height, image.height);
    EXPECT_EQ(decoded.width, image.width);
    EXPECT_EQ(decoded.pixels, values_of<std::uint8_t>(cases.at(name + ".decoded"))) << "quality " << quality;
    num_same_bytes += file == values_of<std::uint8_t>(cases.at(name + ".file")) ? 1 : 0;
  }
  ASSERT_EQ(num_cases, 60);
  std::printf("%d of %d files equal PIL's in every byte\n", num_same_bytes, num_cases);
}

TEST(Packing, InvalidImagesAreNotWritten) {
  const Image good{2, 3, std::vector<std::uint8_t>(18)};
  for (const int quality : {-1, 0, 101}) {
    EXPECT_THROW(encode_jpeg(good, quality), Error);
  }
  for (const Image& image : {Image{}, Image{2, 3, std::vector<std::uint8_t>(17)}, Image{-1, 3, {}},
                             Image{1, 65501, std::vector<std::uint8_t>(3 * 65501)}}) {
    EXPECT_THROW(encode_jpeg(image, 95), Error);
  }
  EXPECT_NO_THROW(encode_jpeg({1, 65500, std::vector<std::uint8_t>(3 * 65500)}, 95));
}

TEST(Packing, TheShorterEdgeIsResizedAsTorchvisionDoes) {
  const Tensors cases = reference("packing.safetensors");
  for (int i = 0; i < 60; ++i) {
    const std::string name = std::to_string(i);
    for (const auto& [mode, interpolation] :
         {std::pair(".BICUBIC", Interpolation::bicubic), {".BILINEAR", Interpolation::bilinear}}) {
      const int edge = values_of<std::int32_t>(cases.at(name + mode + ".edge"))[0];
      const Image expected = image_of(cases.at(name + mode + ".resized"));
      const Image result = resize_shorter_edge(image_of(cases.at(name + ".image")), edge, interpolation);
      ASSERT_EQ(result.height, expected.height) << "edge " << edge;
      ASSERT_EQ(result.width, expected.width) << "edge " << edge;
      EXPECT_EQ(result.pixels, expected.pixels) << "edge " << edge;
    }
  }
}

TEST(Packing, AnImageThatIsSmallEnoughIsNotChanged) {
  Image image{3, 4, std::vector<std::uint8_t>(36)};
  for (std::size_t i = 0; i < image.pixels.size(); ++i) {
    image.pixels[i] = static_cast<std::uint8_t>(7 * i);
  }
  for (const int edge : {3, 4, 256}) {
    const Image result = resize_shorter_edge(image, edge, Interpolation::bicubic);
    EXPECT_EQ(result.height, 3);
    EXPECT_EQ(result.width, 4);
    EXPECT_EQ(result.pixels, image.pixels);
  }
  EXPECT_EQ(resize_shorter_edge(image, 2, Interpolation::bicubic).width, 2);  // int(2 * 4 / 3)
  EXPECT_THROW(resize_shorter_edge(image, 0, Interpolation::bicubic), Error);
}

}  // namespace
}  // namespace maskedkd::testing
