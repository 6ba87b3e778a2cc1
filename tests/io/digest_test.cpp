// Compares with published vectors (FIPS 180-4's examples, the CRC catalogue's check value) and coreutils' sha256sum.
#include "maskedkd/io/digest.hpp"

#include "maskedkd/base/error.hpp"
#include "support/process.hpp"
#include "support/temporary_directory.hpp"

#include <gtest/gtest.h>

#include <fstream>
#include <random>
#include <vector>

namespace maskedkd {
namespace {

std::span<const std::uint8_t> bytes_of(std::string_view text) {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}

TEST(Sha256, EqualsPublishedVectors) {
  EXPECT_EQ(sha256_of_text(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(sha256_of_text("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(sha256_of_text("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(sha256_of_text(std::string(1000000, 'a')),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Sha256, PiecesGiveTheSameDigest) {
  const std::string million(1000000, 'a');
  std::mt19937 random(2);
  for (int round = 0; round < 20; ++round) {
    Sha256 digest;
    for (std::size_t at = 0; at < million.size();) {
      const std::size_t piece = std::min<std::size_t>(random() % 100000, million.size() - at);
      digest.update(bytes_of(std::string_view(million).substr(at, piece)));
      at += piece;
    }
    EXPECT_EQ(digest.hex_digest(), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
  }
}

// Sizes around the 1 MiB that it reads at once.
TEST(Sha256, FilesHaveTheDigestsOfCoreutils) {
  const testing::TemporaryDirectory directory;
  std::mt19937 random(3);
  for (const std::size_t size : {0u, 1u, 63u, 64u, (1u << 20) - 1, 1u << 20, (1u << 20) + 1, 5u * 1000 * 1000}) {
    std::string content(size, '\0');
    for (char& byte : content) {
      byte = static_cast<char>(random());
    }
    const auto path = directory.path() / "file";
    std::ofstream(path, std::ios::binary) << content;
    const auto expected = testing::run_process({"sha256sum", path.string()});
    ASSERT_EQ(expected.exit_code, 0);
    EXPECT_EQ(sha256_of_file(path), expected.output.substr(0, 64)) << size;
    EXPECT_EQ(sha256_of_text(content), expected.output.substr(0, 64)) << size;
  }
  EXPECT_THROW(sha256_of_file(directory.path() / "none"), Error);
}

TEST(Crc32, EqualsPublishedVectors) {
  EXPECT_EQ(crc32_of(bytes_of("123456789")), 0xcbf43926u);
  EXPECT_EQ(crc32_of(bytes_of("")), 0u);
  EXPECT_EQ(crc32_of(bytes_of("a")), 0xe8b7be43u);
  EXPECT_EQ(crc32_of(bytes_of("The quick brown fox jumps over the lazy dog")), 0x414fa339u);
  EXPECT_EQ(crc32_of({}), 0u);
}

}  // namespace
}  // namespace maskedkd
