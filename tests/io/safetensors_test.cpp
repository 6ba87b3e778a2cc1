// Compares with Python's safetensors in both directions, bit for bit.
#include "maskedkd/io/safetensors.hpp"

#include "maskedkd/base/error.hpp"
#include "maskedkd/io/digest.hpp"
#include "maskedkd/io/posix.hpp"
#include "support/process.hpp"
#include "support/temporary_directory.hpp"

#include <ATen/ops/empty.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <random>

namespace maskedkd {
namespace {

using testing::ProcessResult;
using testing::run_process;
using testing::TemporaryDirectory;

const std::map<at::ScalarType, std::string> kNames = {{at::kDouble, "F64"},    {at::kFloat, "F32"}, {at::kHalf, "F16"},
                                                      {at::kBFloat16, "BF16"}, {at::kLong, "I64"},  {at::kInt, "I32"},
                                                      {at::kByte, "U8"},       {at::kBool, "BOOL"}};

nlohmann::json describe(const at::Tensor& tensor) {
  const at::Tensor plain = tensor.contiguous();
  const std::string_view bytes(static_cast<const char*>(plain.const_data_ptr()), plain.nbytes());
  return {
      {"dtype", kNames.at(tensor.scalar_type())}, {"shape", tensor.sizes().vec()}, {"sha256", sha256_of_text(bytes)}};
}

at::Tensor random_bits(std::mt19937& random, at::ScalarType type, const std::vector<std::int64_t>& shape) {
  const at::Tensor tensor = at::empty(shape, at::TensorOptions().dtype(type));
  auto* bytes = static_cast<std::uint8_t*>(tensor.mutable_data_ptr());
  for (std::size_t i = 0; i < tensor.nbytes(); ++i) {
    bytes[i] = static_cast<std::uint8_t>(random() % (type == at::kBool ? 2 : 256));
  }
  return tensor;
}

TEST(ReadSafetensors, ReadsFilesOfPython) {
  for (int number = 0; number < 4; ++number) {
    const auto base = std::filesystem::path(MASKEDKD_REFERENCE_DIR) / ("all-" + std::to_string(number));
    const auto expected = nlohmann::json::parse(read_text_file(base.string() + ".json"));
    const SafetensorsFile file = read_safetensors(base.string() + ".safetensors");
    EXPECT_EQ(nlohmann::json(file.metadata), expected["metadata"]);
    ASSERT_EQ(file.tensors.size(), expected["tensors"].size());
    ASSERT_EQ(file.tensors.size(), 72u);
    for (const auto& [name, tensor] : file.tensors) {
      ASSERT_TRUE(expected["tensors"].contains(name)) << name;
      EXPECT_EQ(describe(tensor), expected["tensors"][name]) << name;
      EXPECT_TRUE(tensor.is_contiguous());
    }
  }
}

TEST(WriteSafetensors, PythonReadsTheSame) {
  const TemporaryDirectory directory;
  for (unsigned seed = 0; seed < 2; ++seed) {
    std::mt19937 random(seed);
    NamedTensors tensors;
    nlohmann::json expected = {{"tensors", nlohmann::json::object()}, {"metadata", nlohmann::json::object()}};
    for (const auto& [type, name] : kNames) {
      for (const std::vector<std::int64_t>& shape :
           {std::vector<std::int64_t>{}, {0}, {1}, {5}, {3, 0, 2}, {7, 11}, {2, 3, 5, 7}}) {
        tensors.emplace_back(fmt::format("{} ä\"\\\n{}", name, tensors.size()), random_bits(random, type, shape));
      }
      // Not contiguous: transposed, a column, every other row, one element expanded.
      const at::Tensor matrix = random_bits(random, type, {6, 4});
      tensors.emplace_back(name + " transposed", matrix.t());
      tensors.emplace_back(name + " column", matrix.select(1, 2));
      tensors.emplace_back(name + " rows", matrix.slice(0, 1, 6, 2));
      tensors.emplace_back(name + " expanded", matrix.slice(1, 0, 1).expand({6, 9}));
    }
    std::map<std::string, std::string> metadata;
    if (seed > 0) {
      metadata = {{"format", "pt"}, {"why", "a \"test\"\n\x01"}};
      expected["metadata"] = metadata;
    }
    for (const auto& [name, tensor] : tensors) {
      expected["tensors"][name] = describe(tensor);
    }
    const auto path = directory.path() / fmt::format("{}.safetensors", seed);
    write_safetensors(path, tensors, metadata);
    std::ofstream(directory.path() / "expected.json") << expected.dump();
    const ProcessResult result =
        run_process({MASKEDKD_PYTHON, MASKEDKD_SOURCE_DIR "/tests/io/read_back.py", "safetensors", path.string(),
                     (directory.path() / "expected.json").string()});
    EXPECT_EQ(result.exit_code, 0) << result.output;
    EXPECT_EQ(result.output, fmt::format("{} tensors equal\n", tensors.size()));

    const SafetensorsFile again = read_safetensors(path);
    EXPECT_EQ(again.metadata, metadata);
    for (const auto& [name, tensor] : again.tensors) {
      EXPECT_EQ(describe(tensor), expected["tensors"][name]) << name;
    }
  }
}

// Checkpoints are compared byte for byte, and mapped files need aligned data.
TEST(WriteSafetensors, BytesAreAFunctionOfTheArgumentsAndDataIsAligned) {
  const TemporaryDirectory directory;
  std::mt19937 random(8);
  for (int extra = 0; extra < 9; ++extra) {
    const NamedTensors tensors = {
        {std::string(static_cast<std::size_t>(extra) + 1, 'n'), random_bits(random, at::kDouble, {3})}};
    const auto path = directory.path() / "a", other = directory.path() / "b";
    write_safetensors(path, tensors, {{"b", "2"}, {"a", "1"}});
    write_safetensors(other, tensors, {{"a", "1"}, {"b", "2"}});
    const std::string text = read_text_file(path);
    EXPECT_EQ(text, read_text_file(other));
    EXPECT_EQ((text.size() - 24) % 8, 0u);
    EXPECT_EQ(text.substr(text.size() - 24),
              std::string(static_cast<const char*>(tensors[0].second.const_data_ptr()), 24));
  }
}

TEST(WriteSafetensors, NoTensorsGiveAValidFile) {
  const TemporaryDirectory directory;
  write_safetensors(directory.path() / "empty", {});
  EXPECT_TRUE(read_safetensors(directory.path() / "empty").tensors.empty());
}

TEST(WriteSafetensors, UnsupportedContentIsAnErrorAndLeavesNoFile) {
  const TemporaryDirectory directory;
  const auto path = directory.path() / "x.safetensors";
  const at::Tensor one = at::empty({2}, at::TensorOptions().dtype(at::kByte)).zero_();
  const auto refuses = [&](const NamedTensors& tensors, const std::map<std::string, std::string>& metadata,
                           const std::string& text) {
    try {
      write_safetensors(path, tensors, metadata);
      ADD_FAILURE() << "written: " << text;
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(text), std::string::npos) << error.what();
    }
    EXPECT_FALSE(std::filesystem::exists(path));
  };
  refuses({{"same", one}, {"same", one}}, {}, "two tensors are named 'same'");
  refuses({{"__metadata__", one}}, {}, "__metadata__");
  refuses({{"complex", at::empty({2}, at::TensorOptions().dtype(at::kComplexFloat))}}, {}, "'complex'");
  refuses({{"nothing", at::Tensor()}}, {}, "'nothing'");
  refuses({{"no text \xff", one}}, {}, "UTF-8");
  refuses({{"good", one}}, {{"format", "\xc3"}}, "UTF-8");
  EXPECT_THROW(write_safetensors(directory.path() / "no" / "folder", {{"good", one}}), Error);
}

}  // namespace
}  // namespace maskedkd
