#include "preprocess/idx.hpp"
#include "maskedkd/base/error.hpp"
#include "maskedkd/io/posix.hpp"
#include "maskedkd/io/safetensors.hpp"
#include "pack_program.hpp"
#include "support/contains.hpp"
#include "support/temporary_directory.hpp"

#include <gtest/gtest.h>

#include <cstring>

namespace maskedkd::testing {
namespace {

namespace fs = std::filesystem;

TEST(Idx, PixelsAndLabelsEqualNumpysPlainAndCompressed) {
  const auto expected = read_safetensors(reference_path("idx.safetensors")).tensors;
  const std::uint8_t* pixels = expected.at("images").const_data_ptr<std::uint8_t>();
  const std::uint8_t* labels = expected.at("labels").const_data_ptr<std::uint8_t>();
  std::string identity;
  for (const std::string ending : {".idx", ".idx.gz"}) {
    const IdxImages images(reference_path("images" + ending), reference_path("labels" + ending), {});
    ASSERT_EQ(images.size(), 10000);
    EXPECT_EQ(images.class_names(), (std::vector<std::string>{"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"}));
    for (std::int64_t i = 0; i < images.size(); ++i) {
      const Record record = images.read(i, {}).record;
      ASSERT_EQ(record.shape, (RecordShape{28, 28, 1}));
      ASSERT_EQ(record.bytes.size(), 784u);
      ASSERT_EQ(std::memcmp(record.bytes.data(), pixels + i * 784, 784), 0) << i;
      ASSERT_EQ(record.label, labels[i]) << i;
    }
    identity = identity.empty() ? images.identity() : identity;
    EXPECT_EQ(images.identity().substr(0, 20), identity.substr(0, 20));
  }
}

class IdxDamage : public ::testing::Test {
 protected:
  // big-endian numbers, then bytes
  static std::string idx(std::initializer_list<std::uint32_t> numbers, const std::string& bytes) {
    std::string text;
    for (const std::uint32_t number : numbers) {
      for (int shift = 24; shift >= 0; shift -= 8) {
        text += static_cast<char>(number >> shift);
      }
    }
    return text + bytes;
  }
  std::string refusal(const std::string& images, const std::string& labels,
                      const std::vector<std::string>& class_names = {}) const {
    write_file_atomically(folder_.path() / "images", images);
    write_file_atomically(folder_.path() / "labels", labels);
    try {
      const IdxImages opened(folder_.path() / "images", folder_.path() / "labels", class_names);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::usage);
      return error.what();
    }
    return "";
  }

  TemporaryDirectory folder_;
  const std::string images_ = idx({0x803, 2, 1, 3}, "abcdef");
  const std::string labels_ = idx({0x801, 2}, std::string("\1\0", 2));
};

TEST_F(IdxDamage, InvalidFilesAreRefusedInOneLine) {
  EXPECT_EQ(refusal(images_, labels_), "");
  EXPECT_CONTAINS(refusal(labels_, images_), "images is not a valid IDX file: its magic number is not that of images");
  EXPECT_CONTAINS(refusal(images_, images_), "labels is not a valid IDX file: its magic number is not that of labels");
  EXPECT_CONTAINS(refusal(images_ + "x", labels_), "bytes follow its last element");
  EXPECT_CONTAINS(refusal(images_, labels_ + "x"), "bytes follow its last element");
  EXPECT_CONTAINS(refusal(images_, idx({0x801, 1}, "\1")), "1 labels for 2 images");
  EXPECT_CONTAINS(refusal(idx({0x803, 0, 1, 3}, ""), labels_), "0 images");
  EXPECT_CONTAINS(refusal(idx({0x803, 2, 0, 3}, ""), labels_), "2 images of 3 x 0");
  EXPECT_CONTAINS(refusal(idx({0x803, 0xFFFFFFFF, 0xFFFF, 0xFFFF}, "abc"), labels_), "images of");
  EXPECT_CONTAINS(refusal(idx({0x803, 0xFFFFFF, 28, 28}, "abc"), labels_), "ends too early");
  EXPECT_CONTAINS(refusal(images_, labels_, {"only"}), "label 1, but there are 1 classes");
  EXPECT_CONTAINS(refusal(images_, labels_, {"one", "one"}), "listed twice");
  EXPECT_EQ(refusal(images_, labels_, {"one", "two", "never seen"}), "");
  for (std::size_t length = 0; length < images_.size(); ++length) {
    EXPECT_NE(refusal(images_.substr(0, length), labels_), "") << length;
  }
  for (std::size_t length = 0; length < labels_.size(); ++length) {
    EXPECT_NE(refusal(images_, labels_.substr(0, length)), "") << length;
  }
}

TEST_F(IdxDamage, ACutGzipStreamIsRefusedWhereverItIsCut) {
  const std::string images = read_text_file(reference_path("images.idx.gz"));
  const std::string labels = read_text_file(reference_path("labels.idx.gz"));
  for (std::size_t cut :
       {std::size_t{1}, std::size_t{4}, std::size_t{8}, std::size_t{9}, std::size_t{100}, labels.size() / 2}) {
    EXPECT_NE(refusal(images, labels.substr(0, labels.size() - cut)), "") << cut;
  }
  for (std::size_t cut : {std::size_t{1}, std::size_t{7}, std::size_t{1000}, images.size() / 2, images.size() - 20}) {
    EXPECT_NE(refusal(images.substr(0, images.size() - cut), labels), "") << cut;
  }
  std::string flipped = labels;
  flipped[flipped.size() / 2] = static_cast<char>(flipped[flipped.size() / 2] ^ 4);
  EXPECT_NE(refusal(images, flipped), "");
}

TEST_F(IdxDamage, AMissingFileIsNamed) {
  try {
    const IdxImages opened(folder_.path() / "nowhere.gz", folder_.path() / "labels", {});
    FAIL();
  } catch (const Error& error) {
    EXPECT_CONTAINS(error.what(), "nowhere.gz: No such file");
  }
}

}  // namespace
}  // namespace maskedkd::testing
