// Large tensors are mapped from their file: which memory they use, what reaches the file, and what happens when the
// file changes. Mappings are read from /proc/self/maps.
#include "maskedkd/base/lost_mapping.hpp"
#include "maskedkd/io/posix.hpp"
#include "maskedkd/io/safetensors.hpp"
#include "support/temporary_directory.hpp"

#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <numeric>

namespace maskedkd {
namespace {

using testing::TemporaryDirectory;

constexpr std::int64_t kLarge = 400'000;  // floats: 1.6 MB

int mappings_of(const std::filesystem::path& path) {
  std::ifstream maps("/proc/self/maps");
  int count = 0;
  for (std::string line; std::getline(maps, line);) {
    count += line.find(path.string()) != std::string::npos ? 1 : 0;
  }
  return count;
}

// Writes a file whose header has the given length modulo 8.
void write_plain(const std::filesystem::path& path, std::string header, std::size_t remainder,
                 const std::vector<float>& values) {
  while (header.size() % 8 != remainder) {
    header += ' ';
  }
  const std::uint64_t length = header.size();
  std::ofstream file(path, std::ios::binary);
  file.write(reinterpret_cast<const char*>(&length), sizeof(length));
  file << header;
  file.write(reinterpret_cast<const char*>(values.data()), static_cast<std::streamsize>(values.size() * sizeof(float)));
}

std::vector<float> numbers() {
  std::vector<float> values(2 * kLarge + 8);
  std::iota(values.begin(), values.end(), 0.0F);
  return values;
}

std::string header_of_two() {
  return fmt::format(R"({{"small":{{"dtype":"F32","shape":[8],"data_offsets":[0,32]}},)"
                     R"("a":{{"dtype":"F32","shape":[{0}],"data_offsets":[32,{1}]}},)"
                     R"("b":{{"dtype":"F32","shape":[2,{2}],"data_offsets":[{1},{3}]}}}})",
                     kLarge, 32 + 4 * kLarge, kLarge / 2, 32 + 8 * kLarge);
}

bool holds(const at::Tensor& tensor, const std::vector<float>& values, std::size_t from) {
  return std::memcmp(tensor.const_data_ptr(), values.data() + from, tensor.nbytes()) == 0;
}

TEST(MappedSafetensors, LargeTensorsAreMappedAndUnmappedOneByOne) {
  const TemporaryDirectory directory;
  const auto path = directory.path() / "two";
  write_plain(path, header_of_two(), 0, numbers());
  auto tensors = read_safetensors(path).tensors;
  EXPECT_EQ(mappings_of(path), 2);
  EXPECT_TRUE(holds(tensors.at("small"), numbers(), 0));
  EXPECT_TRUE(holds(tensors.at("a"), numbers(), 8));
  EXPECT_TRUE(holds(tensors.at("b"), numbers(), 8 + kLarge));
  EXPECT_TRUE(tensors.at("b").is_contiguous());
  const at::Tensor row = tensors.at("b").select(0, 1);
  tensors.erase("a");
  EXPECT_EQ(mappings_of(path), 1);
  tensors.clear();
  EXPECT_EQ(mappings_of(path), 1) << "a view keeps it";
  EXPECT_TRUE(holds(row, numbers(), 8 + kLarge + kLarge / 2));
}

TEST(MappedSafetensors, MisalignedTensorsAreCopied) {
  const TemporaryDirectory directory;
  const auto path = directory.path() / "two";
  for (const std::size_t remainder : {1, 2, 3, 4, 7}) {
    write_plain(path, header_of_two(), remainder, numbers());
    const auto tensors = read_safetensors(path).tensors;
    EXPECT_EQ(mappings_of(path), remainder == 4 ? 2 : 0) << remainder;
    EXPECT_TRUE(holds(tensors.at("a"), numbers(), 8));
    EXPECT_TRUE(holds(tensors.at("b"), numbers(), 8 + kLarge));
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(tensors.at("b").const_data_ptr()) % sizeof(float), 0U);
  }
}

TEST(MappedSafetensors, WritingIntoATensorReachesNeitherFileNorOtherReader) {
  const TemporaryDirectory directory;
  const auto path = directory.path() / "two";
  write_plain(path, header_of_two(), 0, numbers());
  const std::string before = read_text_file(path);
  const auto first = read_safetensors(path).tensors;
  const auto second = read_safetensors(path).tensors;
  first.at("a").fill_(-1);
  first.at("b").select(0, 0).mul_(2);
  EXPECT_EQ(read_text_file(path), before);
  EXPECT_TRUE(holds(second.at("a"), numbers(), 8));
  EXPECT_TRUE(at::equal(first.at("a"), at::full({kLarge}, -1.0F)));
}

TEST(MappedSafetensors, AFileMayBeRemovedOrReplacedUnderItsTensors) {
  const TemporaryDirectory directory;
  const auto path = directory.path() / "two";
  write_plain(path, header_of_two(), 0, numbers());
  const auto tensors = read_safetensors(path).tensors;
  // Writes tensors over the file that they are mapped from, in the other order.
  write_safetensors(path, {{"x", tensors.at("b")}, {"y", tensors.at("a")}});
  const auto again = read_safetensors(path).tensors;
  std::filesystem::remove(path);
  EXPECT_TRUE(holds(tensors.at("a"), numbers(), 8));
  EXPECT_TRUE(at::equal(again.at("x"), tensors.at("b")));
  EXPECT_TRUE(at::equal(again.at("y"), tensors.at("a")));
}

TEST(MappedSafetensorsDeathTest, AFileThatIsCutUnderItsTensorsEndsTheProcessWithALine) {
  const TemporaryDirectory directory;
  const auto path = directory.path() / "two";
  write_plain(path, header_of_two(), 0, numbers());
  const auto touch_cut_file = [&] {
    report_lost_mapping();
    const auto tensors = read_safetensors(path).tensors;
    std::filesystem::resize_file(path, 4 * kLarge);
    std::exit(tensors.at("b").select(0, 1).sum().item<float>() > 0 ? 0 : 3);
  };
  EXPECT_EXIT(touch_cut_file(), ::testing::ExitedWithCode(1),
              "^error a file that is in use was truncated or its disk failed [^\n]*\n$");
}

// The number of mappings of a process is limited, and other code needs some too.
TEST(MappedSafetensors, SomeOfVeryManyLargeTensorsAreCopied) {
  constexpr int kTensors = 4100;
  constexpr std::uint64_t kBytes = std::uint64_t{1} << 20;
  const TemporaryDirectory directory;
  const auto path = directory.path() / "many";
  std::string header;
  for (std::uint64_t i = 0; i < kTensors; ++i) {
    header += fmt::format(R"({}"{:04}":{{"dtype":"U8","shape":[{}],"data_offsets":[{},{}]}})", i == 0 ? "{" : ",", i,
                          kBytes, i * kBytes, (i + 1) * kBytes);
  }
  write_plain(path, header + "}", 0, {});
  const std::uint64_t data_begin = std::filesystem::file_size(path);
  std::filesystem::resize_file(path, data_begin + kTensors * kBytes);  // sparse
  std::fstream(path, std::ios::binary | std::ios::in | std::ios::out)
      .seekp(static_cast<std::streamoff>(data_begin + kTensors * kBytes - 1))
      .put('\5');
  const auto tensors = read_safetensors(path).tensors;
  ASSERT_EQ(tensors.size(), std::size_t{kTensors});
  EXPECT_EQ(mappings_of(path), 4096);
  EXPECT_EQ(tensors.at("4099")[-1].item<int>(), 5);
  EXPECT_EQ(tensors.at("0000")[-1].item<int>(), 0);
}

TEST(SafetensorsHeader, DescribesTheContentOfTheFile) {
  for (int number = 0; number < 4; ++number) {
    const auto path =
        std::filesystem::path(MASKEDKD_REFERENCE_DIR) / ("all-" + std::to_string(number) + ".safetensors");
    const SafetensorsHeader header = read_safetensors_header(path);
    const SafetensorsFile file = read_safetensors(path);
    EXPECT_EQ(header.metadata, file.metadata);
    ASSERT_EQ(header.tensors.size(), file.tensors.size());
    for (const auto& [name, tensor] : file.tensors) {
      EXPECT_EQ(header.tensors.at(name).dtype, tensor.scalar_type()) << name;
      EXPECT_EQ(header.tensors.at(name).shape, tensor.sizes().vec()) << name;
    }
  }
}

}  // namespace
}  // namespace maskedkd
