#include "maskedkd/base/error.hpp"
#include "maskedkd/io/digest.hpp"
#include "maskedkd/io/posix.hpp"
#include "reference.hpp"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <random>

namespace maskedkd::testing {
namespace {

using Bytes = std::vector<std::uint8_t>;

Bytes file_of(const std::string& name) {
  const std::string text = read_text_file(reference_path("decode") / name);
  return {text.begin(), text.end()};
}

// The message of the Error; "" if there is none.
template <typename Function>
std::string refusal(const Function& function) {
  try {
    function();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()), "");
    EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos);
    return error.what();
  }
  return "";
}

TEST(Decode, EveryKindOfPngEqualsPilsPixels) {
  int num_files = 0;
  for (const auto& [name, expected] : reference("decode.safetensors")) {
    if (!name.ends_with(".png")) {
      continue;
    }
    ++num_files;
    const Image image = decode_image(file_of(name));
    ASSERT_EQ(image.height, expected.size(0)) << name;
    ASSERT_EQ(image.width, expected.size(1)) << name;
    Difference difference;
    difference.add(image.pixels, values_of<std::uint8_t>(expected));
    EXPECT_EQ(difference.num_different, 0u) << name << ": up to " << difference.largest;
  }
  EXPECT_EQ(num_files, 192);
}

// PIL contains another version of libjpeg-turbo, whose transforms may round differently.
TEST(Decode, EveryKindOfJpegIsCloseToPilsPixels) {
  int num_files = 0, num_equal = 0;
  Difference all;
  for (const auto& [name, expected] : reference("decode.safetensors")) {
    if (!name.ends_with(".jpg")) {
      continue;
    }
    ++num_files;
    Image image;
    ASSERT_EQ(refusal([&, &file = name] { image = decode_image(file_of(file)); }), "") << name;
    ASSERT_EQ(image.height, expected.size(0)) << name;
    ASSERT_EQ(image.width, expected.size(1)) << name;
    Difference difference;
    difference.add(image.pixels, values_of<std::uint8_t>(expected));
    EXPECT_LE(difference.largest, 2) << name << ": " << difference.num_different << " of " << difference.num_values;
    all.add(image.pixels, values_of<std::uint8_t>(expected));
    num_equal += difference.num_different == 0 ? 1 : 0;
  }
  EXPECT_GE(num_files, 56);
  std::printf("%d of %d JPEGs equal PIL's in every byte; %zu of %zu values differ, by at most %d\n", num_equal,
              num_files, all.num_different, all.num_values, all.largest);
}

// `whole` files are read as PIL reads them. `damaged` files that PIL refuses are refused; those that PIL reads (half
// gray, wrong colours) are refused or give the same pixels, except for a limited number.
TEST(Decode, OddFilesAreReadAsPilReadsThem) {
  const Tensors read_by_pil = reference("odd.safetensors");
  int num_whole = 0, num_damaged = 0, num_only_pil_reads = 0, num_read = 0;
  for (const auto& entry : std::filesystem::directory_iterator(reference_path("odd"))) {
    const std::string name = entry.path().filename();
    const std::string text = read_text_file(entry.path());
    const Bytes bytes(text.begin(), text.end());
    const auto expected = read_by_pil.find(name);
    Image image;
    const std::string message = refusal([&] { image = decode_image(bytes); });
    const bool is_whole = name.starts_with("whole_");
    (is_whole ? num_whole : num_damaged) += 1;
    if (expected == read_by_pil.end()) {
      EXPECT_FALSE(is_whole) << name;
      EXPECT_NE(message, "") << name << ": PIL refuses it";
      continue;
    }
    if (!message.empty()) {
      EXPECT_FALSE(is_whole) << name << ": " << message;
      ++num_only_pil_reads;
      continue;
    }
    ++num_read;
    ASSERT_EQ(image.height, expected->second.size(0)) << name;
    ASSERT_EQ(image.width, expected->second.size(1)) << name;
    Difference difference;
    difference.add(image.pixels, values_of<std::uint8_t>(expected->second));
    // libjpeg smooths blocks whose finer scans are missing; PIL's newer version differs by one level in a few of them.
    const bool may_be_smoothed = !is_whole && name.ends_with("_progressive.jpg");
    EXPECT_LE(difference.largest, may_be_smoothed ? 1 : 0) << name << ": " << difference.num_different << " values";
  }
  EXPECT_GE(num_whole, 65);
  EXPECT_GE(num_damaged, 700);
  std::printf("%d whole files, %d damaged ones: %d read as PIL does, %d read by PIL alone\n", num_whole, num_damaged,
              num_read, num_only_pil_reads);
}

TEST(Decode, TheHeaderGivesShapeAndStoredChannels) {
  for (const auto& [name, expected] : reference("decode.safetensors")) {
    const RecordShape shape = read_image_shape(file_of(name));
    EXPECT_EQ(shape.height, expected.size(0)) << name;
    EXPECT_EQ(shape.width, expected.size(1)) << name;
    const bool gray = name.starts_with("gray") || name.starts_with("progressive_gray");
    EXPECT_EQ(shape.channels, gray ? 1 : 3) << name;
  }
}

TEST(Decode, AFileThatEndsEarlyIsRefusedWhereverItEnds) {
  for (const std::string name :
       {"420_31x17.jpg", "progressive_31x17.jpg", "gray_31x17.jpg", "cmyk_31x17.jpg", "restart_31x17.jpg",
        "rgb8_50x37.png", "gray16_50x37_interlaced.png", "palette4_alpha_50x37.png"}) {
    const Bytes file = file_of(name);
    for (std::size_t length = 0; length < file.size(); ++length) {
      EXPECT_NE(refusal([&] { decode_image(std::span(file).first(length)); }), "") << name << " cut at " << length;
    }
  }
}

TEST(Decode, ForeignBytesAreRefused) {
  for (const std::string text :
       {"", "G", "GIF89a\1\0\1\0", "BM......................", "RIFF....WEBPVP8 ........", "\xFF\xD8", "\xFF\xD8\xFF",
        "\xFF\xD8\xFF\xFF\xFF\xFF", "\x89PNG\r\n\x1a\n", "II*\0........", "<html><body>404</body></html>"}) {
    const Bytes bytes(text.begin(), text.end());
    EXPECT_NE(refusal([&] { decode_image(bytes); }), "") << text;
    EXPECT_NE(refusal([&] { read_image_shape(bytes); }), "") << text;
  }
}

TEST(Decode, AHeaderOfImpossibleSizeAllocatesNothing) {
  const auto big_endian = [](Bytes& bytes, std::size_t at, std::uint32_t value, int length) {
    for (int i = 0; i < length; ++i) {
      bytes[at + i] = static_cast<std::uint8_t>(value >> 8 * (length - 1 - i));
    }
  };
  for (const auto& [width, height] :
       {std::pair(0x7FFFFFFFu, 1u), {0x7FFFFFFFu, 0x7FFFFFFFu}, {70000u, 70000u}, {0u, 5u}}) {
    Bytes png = file_of("rgb8_50x37.png");
    big_endian(png, 16, width, 4);
    big_endian(png, 20, height, 4);
    big_endian(png, 29, crc32_of(std::span(png).subspan(12, 17)), 4);
    EXPECT_NE(refusal([&] { decode_image(png); }), "");
    EXPECT_NE(refusal([&] { read_image_shape(png); }), "");
  }
  Bytes jpeg = file_of("420_31x17.jpg");
  const std::array<std::uint8_t, 2> frame = {0xFF, 0xC0};
  const auto start = std::search(jpeg.begin(), jpeg.end(), frame.begin(), frame.end()) - jpeg.begin();
  for (const auto& [width, height] : {std::pair(65500u, 65500u), {0u, 20u}}) {
    big_endian(jpeg, start + 5, height, 2);
    big_endian(jpeg, start + 7, width, 2);
    EXPECT_NE(refusal([&] { decode_image(jpeg); }), "");
    EXPECT_NE(refusal([&] { read_image_shape(jpeg); }), "");
  }
}

// Damage must give an image of the right size or an Error, never a crash; the checksums of PNG reveal every flipped
// byte. MASKEDKD_FLIPS=N sets the number of flips.
TEST(Decode, FlippedBytesNeverCrash) {
  const char* setting = std::getenv("MASKEDKD_FLIPS");
  const long num_flips = setting != nullptr ? std::atol(setting) : 4000;
  std::vector<std::pair<std::string, Bytes>> files;
  for (const char* name :
       {"420_31x17.jpg", "progressive_31x17.jpg", "cmyk_31x17.jpg", "ycck_8x8.jpg", "restart_31x17.jpg",
        "rgb8_50x37.png", "palette4_alpha_50x37_interlaced.png", "gray16_50x37.png"}) {
    files.emplace_back(name, file_of(name));
  }
  std::mt19937_64 random(1);
  long refused = 0;
  for (long flip = 0; flip < num_flips; ++flip) {
    auto [name, bytes] = files[random() % files.size()];
    const Image whole = decode_image(bytes);
    const std::size_t at = random() % bytes.size();
    bytes[at] ^= static_cast<std::uint8_t>(1u << random() % 8);
    Image image;
    const std::string message = refusal([&, &file = bytes] { image = decode_image(file); });
    refused += message.empty() ? 0 : 1;
    if (message.empty()) {
      ASSERT_EQ(image.pixels.size(), static_cast<std::size_t>(image.height) * image.width * 3);
      if (name.ends_with(".png")) {
        EXPECT_EQ(image.pixels, whole.pixels) << name << ", byte " << at;
      }
    }
  }
  std::printf("%ld of %ld damaged files refused\n", refused, num_flips);
}

TEST(Decode, RawRecordsGiveTheirPixels) {
  Record record{{1, 2, 3, 4, 5, 6}, 0, {2, 3, 1}};
  const Image gray = decode_record(record, RecordEncoding::raw);
  EXPECT_EQ(gray.pixels, (Bytes{1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4, 5, 5, 5, 6, 6, 6}));
  EXPECT_EQ(gray.height, 2);
  EXPECT_EQ(gray.width, 3);
  record.shape = {1, 2, 3};
  EXPECT_EQ(decode_record(record, RecordEncoding::raw).pixels, record.bytes);
  for (const RecordShape shape :
       {RecordShape{2, 2, 1}, {1, 3, 3}, {0, 6, 1}, {-1, -6, 1}, {1, 3, 2}, {1 << 30, 1 << 30, 3}}) {
    record.shape = shape;
    EXPECT_NE(refusal([&] { decode_record(record, RecordEncoding::raw); }), "");
  }
}

}  // namespace
}  // namespace maskedkd::testing
