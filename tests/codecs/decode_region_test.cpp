// A box decoded alone has the same bits as the box of the whole image, which decode_test.cpp compares with PIL.
#include "make_jpeg.hpp"
#include "maskedkd/base/error.hpp"
#include "maskedkd/io/posix.hpp"
#include "reference.hpp"

#include <cstdlib>
#include <random>

namespace maskedkd::testing {
namespace {

using Bytes = std::vector<std::uint8_t>;

int below(std::mt19937_64& random, int bound) { return static_cast<int>(random() % static_cast<std::uint64_t>(bound)); }

PixelBox some_box(std::mt19937_64& random, int height, int width) {
  PixelBox box{0, 0, 1 + below(random, height), 1 + below(random, width)};
  if (random() % 4 == 0) {
    box.height = std::min(height, 1 + below(random, 20));  // about the size of a block
    box.width = std::min(width, 1 + below(random, 20));
  }
  box.top = below(random, height - box.height + 1);
  box.left = below(random, width - box.width + 1);
  return box;
}

Bytes cut(const ImageRegion& region, const PixelBox& box) {
  Bytes pixels;
  for (int y = box.top - region.top; y < box.top - region.top + box.height; ++y) {
    const auto row =
        region.part.pixels.begin() + (static_cast<std::ptrdiff_t>(y) * region.part.width + box.left - region.left) * 3;
    pixels.insert(pixels.end(), row, row + static_cast<std::ptrdiff_t>(box.width) * 3);
  }
  return pixels;
}

void expect_same_boxes(std::mt19937_64& random, const Record& record, RecordEncoding encoding, int num_boxes,
                       const std::string& what) {
  const Image whole = decode_record(record, encoding);
  for (int i = 0; i < num_boxes; ++i) {
    const PixelBox box = some_box(random, whole.height, whole.width);
    const ImageRegion region = decode_record_region(record, encoding, box);
    ASSERT_TRUE(region.top <= box.top && region.left <= box.left &&
                region.top + region.part.height >= box.top + box.height &&
                region.left + region.part.width >= box.left + box.width)
        << what;
    ASSERT_EQ(region.part.pixels.size(), std::size_t{3} * region.part.height * region.part.width) << what;
    ASSERT_EQ(cut(region, box), cut({whole, 0, 0}, box))
        << what << ", box of " << box.width << " x " << box.height << " at (" << box.left << ", " << box.top << ") of "
        << whole.width << " x " << whole.height;
  }
}

Record file_record(Bytes bytes) {
  const RecordShape shape = read_image_shape(bytes);
  return {std::move(bytes), 0, shape};
}

JpegLayout some_layout(std::mt19937_64& random) {
  JpegLayout layout;
  const std::pair<int, int> factors[] = {{1, 1}, {2, 1}, {2, 2}, {1, 2}, {4, 1}, {1, 4}, {4, 2}};
  layout.num_components = random() % 6 == 0 ? 4 : random() % 6 == 0 ? 1 : 3;
  std::tie(layout.across, layout.down) = factors[random() % (random() % 2 == 0 ? 4 : 7)];
  if (layout.across == 4 && layout.down == 2) {
    layout.num_components = std::min(layout.num_components, 3);  // a minimum coded unit has at most 10 blocks
  } else {
    layout.second_down = layout.down == 2 && random() % 8 == 0 ? 2 : 1;
  }
  layout.progressive = random() % 6 == 0;
  layout.arithmetic = random() % 8 == 0;
  layout.single_scans = random() % 10 == 0;
  layout.restart_interval = random() % 3 == 0 ? 1 + below(random, 9) : 0;
  layout.quality = 30 + below(random, 71);
  return layout;
}

TEST(DecodeRegion, EqualsTheBoxOfTheWholeForRandomLayoutsOfJpeg) {
  const char* setting = std::getenv("MASKEDKD_REGIONS");
  const int num_files = setting != nullptr ? std::atoi(setting) : 1500;
  std::mt19937_64 random(31);
  for (int i = 0; i < num_files; ++i) {
    const JpegLayout layout = some_layout(random);
    const bool large = i % 20 == 0;
    const int height = large ? 375 : 1 + below(random, 64), width = large ? 500 : 1 + below(random, 64);
    const Record record =
        file_record(make_jpeg(noisy_pixels(random, height, width, layout.num_components), height, width, layout));
    expect_same_boxes(
        random, record, RecordEncoding::file, 5,
        fmt::format("file {}: {} components, {} x {}, second {}, progressive {}, arithmetic {}, scans {}, "
                    "restarts {}",
                    i, layout.num_components, layout.across, layout.down, layout.second_down, layout.progressive,
                    layout.arithmetic, layout.single_scans, layout.restart_interval));
    if (HasFatalFailure()) {
      return;
    }
  }
}

TEST(DecodeRegion, EqualsTheBoxOfTheWholeForEveryOtherFile) {
  std::mt19937_64 random(32);
  int num_files = 0;
  for (const char* folder : {"decode", "odd"}) {
    for (const auto& entry : std::filesystem::directory_iterator(reference_path(folder))) {
      const std::string name = entry.path().filename();
      if (!name.starts_with("damaged_")) {
        const std::string text = read_text_file(entry.path());
        expect_same_boxes(random, file_record({text.begin(), text.end()}), RecordEncoding::file,
                          name.starts_with("photograph") ? 4 : 10, name);
        ++num_files;
      }
    }
  }
  EXPECT_GE(num_files, 300);
}

TEST(DecodeRegion, EqualsTheBoxOfRawPixels) {
  std::mt19937_64 random(33);
  for (int i = 0; i < 200; ++i) {
    const int height = 1 + below(random, 40), width = 1 + below(random, 40), channels = i % 2 == 0 ? 3 : 1;
    const Record record{noisy_pixels(random, height, width, channels), 0, {height, width, channels}};
    expect_same_boxes(random, record, RecordEncoding::raw, 10, "raw");
  }
}

TEST(DecodeRegion, ARecordOfAnotherSizeOrABoxOutsideIsRefused) {
  std::mt19937_64 random(34);
  const int height = 40, width = 56;
  const auto expect_refused = [](const Record& record, RecordEncoding encoding, const PixelBox& box,
                                 const std::string& reason) {
    try {
      decode_record_region(record, encoding, box);
      ADD_FAILURE() << "not refused: " << reason;
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(reason), std::string::npos) << error.what();
    }
  };
  const Bytes pixels = noisy_pixels(random, height, width, 3);
  const std::string png = read_text_file(reference_path("decode") / "rgb8_50x37.png");
  const Record jpeg = file_record(make_jpeg(pixels, height, width, {}));
  for (Record record : {jpeg, file_record({png.begin(), png.end()})}) {
    const RecordShape good = record.shape;
    for (const auto& [dy, dx] : {std::pair(1, 0), {0, 1}, {-1, 0}, {0, -1}, {100000, 100000}}) {
      record.shape = {good.height + dy, good.width + dx, 3};
      expect_refused(record, RecordEncoding::file, {0, 0, 2, 2}, "its record says");
    }
  }
  constexpr int kLargest = std::numeric_limits<int>::max();
  for (const auto& [record, encoding] :
       {std::pair(jpeg, RecordEncoding::file), {Record{pixels, 0, {height, width, 3}}, RecordEncoding::raw}}) {
    for (const PixelBox& box :
         {PixelBox{-1, 0, 5, 5}, PixelBox{0, -1, 5, 5}, PixelBox{0, 0, 0, 5}, PixelBox{0, 0, 5, 0},
          PixelBox{0, 0, height + 1, 5}, PixelBox{0, 0, 5, width + 1}, PixelBox{36, 0, 5, 5}, PixelBox{0, 52, 5, 5},
          PixelBox{kLargest, kLargest, kLargest, kLargest}, PixelBox{5, 5, kLargest, kLargest},
          PixelBox{0, 0, -1, -1}}) {
      expect_refused(record, encoding, box, "outside");
    }
  }
}

// Only the part of the file before the box's last row, and a little of what follows it, is read.
TEST(DecodeRegion, DamageIsFoundOnlyBeforeTheEndOfTheBox) {
  std::mt19937_64 random(35);
  JpegLayout layout;
  layout.across = layout.down = 2;
  Record record = file_record(make_jpeg(noisy_pixels(random, 375, 500, 3), 375, 500, layout));
  const Bytes whole = decode_record_region(record, RecordEncoding::file, {0, 0, 100, 500}).part.pixels;
  record.bytes.resize(record.bytes.size() / 2);
  EXPECT_EQ(decode_record_region(record, RecordEncoding::file, {0, 0, 100, 500}).part.pixels, whole);
  EXPECT_THROW(decode_record_region(record, RecordEncoding::file, {0, 0, 300, 500}), Error);
  EXPECT_THROW(decode_record_region(record, RecordEncoding::file, {300, 0, 10, 10}), Error);
}

}  // namespace
}  // namespace maskedkd::testing
