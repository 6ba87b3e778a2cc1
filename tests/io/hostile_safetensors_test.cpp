// Invalid files, forged and random: an Error names the tensor and the violated rule. Memory use must be small: the
// program may use 600 MB of addresses more than at its start.
#include "maskedkd/base/error.hpp"
#include "maskedkd/io/safetensors.hpp"
#include "support/process.hpp"
#include "support/temporary_directory.hpp"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <random>

namespace maskedkd {
namespace {

using testing::TemporaryDirectory;

class LittleMemory : public ::testing::Environment {
  void SetUp() override {
    std::uint64_t pages = 0;
    std::ifstream("/proc/self/statm") >> pages;
    const rlim_t bytes = pages * static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE)) + (std::uint64_t{600} << 20);
    const rlimit limit{bytes, bytes};
    ASSERT_EQ(setrlimit(RLIMIT_AS, &limit), 0);
  }
};
const auto* const little_memory = ::testing::AddGlobalTestEnvironment(new LittleMemory);

void write(const std::filesystem::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

std::string with_length(const std::string& header, std::size_t data_bytes) {
  const std::uint64_t length = header.size();
  std::string file(sizeof(length), '\0');
  std::memcpy(file.data(), &length, sizeof(length));
  return file + header + std::string(data_bytes, '\7');
}

// The message of the Error; "" (and a failure) if there is none.
std::string refusal(const std::string& bytes) {
  const TemporaryDirectory directory;
  const auto path = directory.path() / "hostile.safetensors";
  write(path, bytes);
  try {
    read_safetensors(path);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::usage);
    EXPECT_NE(std::string(error.what()).find(path.string()), std::string::npos) << error.what();
    return error.what();
  } catch (const std::exception& other) {
    ADD_FAILURE() << "no Error but: " << other.what();
    return "";
  }
  ADD_FAILURE() << "read: " << bytes.substr(0, 200);
  return "";
}

void refuses(const std::string& header, std::size_t data_bytes, const std::string& text) {
  const std::string message = refusal(with_length(header, data_bytes));
  EXPECT_NE(message.find(text), std::string::npos) << header.substr(0, 200) << "\n" << message.substr(0, 400);
}

std::string tensor(const std::string& dtype, const std::string& shape, const std::string& offsets) {
  return R"({"head.weight":{"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" + offsets + "}}";
}

TEST(HostileSafetensors, TheValidFileOfTheseTestsIsRead) {
  const TemporaryDirectory directory;
  write(directory.path() / "a", with_length(tensor("F32", "[2,3]", "[0,24]"), 24));
  EXPECT_EQ(read_safetensors(directory.path() / "a").tensors.at("head.weight").sizes(), at::IntArrayRef({2, 3}));
}

TEST(HostileSafetensors, HeadersThatAreTooShortOrTooLongAreRefused) {
  EXPECT_NE(refusal("").find("it is empty"), std::string::npos);
  EXPECT_NE(refusal("1234567").find("only 7 bytes"), std::string::npos);
  for (const std::uint64_t length : {std::uint64_t{17}, std::uint64_t{100'000'001}, ~std::uint64_t{0},
                                     std::uint64_t{1} << 63, ~std::uint64_t{0} - 7}) {
    std::string file = with_length("{}", 14);
    std::memcpy(file.data(), &length, sizeof(length));
    EXPECT_NE(refusal(file).find(std::to_string(length)), std::string::npos);
  }
}

// The (sparse) file is as long as its header says, but no header may be that long.
TEST(HostileSafetensors, AHeaderOverTheLimitIsNotRead) {
  const TemporaryDirectory directory;
  const auto path = directory.path() / "long";
  const std::uint64_t length = 100'000'001;
  std::string start(8, '\0');
  std::memcpy(start.data(), &length, sizeof(length));
  write(path, start + "{");
  std::filesystem::resize_file(path, std::uint64_t{1} << 40);
  EXPECT_THROW(read_safetensors(path), Error);
}

TEST(HostileSafetensors, OtherTextsThanAnObjectOfTensorsAreRefused) {
  for (const char* header : {"", "{", "}", "\xff\xfe", "{\"a\":}", "{}{}", "{\"\xc3\":1}", "{'a':1}", "{\"a\":NaN}",
                             "{\"a\":1,}", "nul", "// {}"}) {
    refuses(header, 0, "not JSON");
  }
  refuses(std::string("{}\0\0", 4), 0, "not JSON");
  for (const char* header : {"[]", "null", "3", "\"a\"", " {}", "\n{}"}) {
    refuses(header, 0, "its header");
  }
  for (const char* value : {"1", "null", "[]", "{}", "\"F32\"", R"({"dtype":"F32","shape":[1]})",
                            R"({"dtype":"F32","shape":[1],"data_offsets":[0,4],"more":1})"}) {
    refuses(R"({"head.weight":)" + std::string(value) + "}", 4, "head.weight");
  }
}

TEST(HostileSafetensors, MetadataOtherThanTextsIsRefused) {
  refuses(R"({"__metadata__":[]})", 0, "__metadata__");
  refuses(R"({"__metadata__":{"epoch":3}})", 0, "'epoch'");
  refuses(R"({"__metadata__":{"a":"1","a":"2"}})", 0, "'a' twice");
}

TEST(HostileSafetensors, RepeatedNamesAreRefused) {
  const std::string entry = R"("head.weight":{"dtype":"U8","shape":[2],"data_offsets":[0,2]})";
  refuses("{" + entry + "," + entry + "}", 2, "'head.weight' twice");
  refuses(R"({"head.weight":{"dtype":"U8","dtype":"U8","shape":[2],"data_offsets":[0,2]}})", 2, "'dtype' twice");
}

TEST(HostileSafetensors, NamesAreShownInOneShortLine) {
  const auto refusal_of_name = [](const std::string& name) {
    return refusal(with_length("{\"" + name + R"(":{"dtype":"F33","shape":[1],"data_offsets":[0,4]}})", 4));
  };
  EXPECT_NE(refusal_of_name(R"(a\nb\u0000\u001b[31m)").find("tensor 'a?b??[31m' has"), std::string::npos);
  const std::string message = refusal_of_name(std::string(119, 'a') + "ä" + std::string(100'000, 'b'));
  EXPECT_NE(message.find("aaa...' has the unknown"), std::string::npos) << message;
}

TEST(HostileSafetensors, InvalidDtypesShapesAndOffsetsAreRefused) {
  for (const char* dtype : {"", "f32", "F8_E4M3", "F128", "float32"}) {
    refuses(tensor(dtype, "[1]", "[0,4]"), 4, "head.weight");
  }
  refuses(R"({"head.weight":{"dtype":3,"shape":[1],"data_offsets":[0,4]}})", 4, "unknown dtype 3");
  for (const char* shape : {"[-1]", "[1.0]", "[1e0]", "[\"1\"]", "[null]", "[[1]]", "[true]", "1", "null", "{}",
                            "[18446744073709551615]", "[9223372036854775808]", "[99999999999999999999999]"}) {
    refuses(tensor("F32", shape, "[0,4]"), 4, std::string(shape) == "[[1]]" ? "its header" : "head.weight");
  }
  refuses(tensor("F32", "[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]", "[0,4]"), 4, "more than 16");
  for (const char* offsets : {"[0]", "[0,4,4]", "[]", "[-4,0]", "[0,4.0]", "4", "null", "[0,\"4\"]",
                              "[0,18446744073709551615]", "[0,99999999999999999999999]"}) {
    refuses(tensor("F32", "[1]", offsets), 4, "head.weight");
  }
}

TEST(HostileSafetensors, SizesThatDisagreeOrOverflowAreRefused) {
  refuses(tensor("F32", "[3]", "[0,8]"), 8, "'head.weight' has 8 bytes");
  refuses(tensor("F16", "[2,3]", "[0,24]"), 24, "'head.weight' has 24 bytes");
  refuses(tensor("U8", "[0]", "[0,1]"), 1, "'head.weight' has 1 bytes");
  refuses(tensor("U8", "[]", "[0,0]"), 0, "'head.weight' has 0 bytes");
  refuses(tensor("F32", "[4611686018427387904]", "[0,0]"), 0, "'head.weight' overflows");
  refuses(tensor("F32", "[4294967296,4294967296]", "[0,0]"), 0, "'head.weight' overflows");
  refuses(tensor("U8", "[4294967296,4294967297]", "[0,4294967296]"), 8, "'head.weight'");
  refuses(tensor("F64", "[1152921504606846976,2]", "[0,0]"), 0, "'head.weight' overflows");
  refuses(tensor("U8", "[9223372036854775807]", "[0,9223372036854775807]"), 8, "head.weight");
  // There are no elements, but the strides of this shape overflow.
  for (const char* shape :
       {"[0,9223372036854775807,9223372036854775807]", "[9223372036854775807,9223372036854775807,0]",
        "[4294967296,0,4294967296]", "[9223372036854775807,0]"}) {
    refuses(tensor("F32", shape, "[0,0]"), 0, "'head.weight' overflows");
  }
}

std::string two(const std::string& first, const std::string& second) {
  return R"({"a":{"dtype":"U8","shape":[4],"data_offsets":)" + first +
         R"(},"head.weight":{"dtype":"U8","shape":[4],"data_offsets":)" + second + "}}";
}

TEST(HostileSafetensors, RangesMustCoverTheDataOnce) {
  refuses(two("[0,4]", "[3,7]"), 8, "'head.weight' overlaps");
  refuses(two("[0,4]", "[0,4]"), 8, "overlaps");
  refuses(two("[0,4]", "[0,4]"), 4, "overlaps");
  refuses(two("[0,4]", "[5,9]"), 9, "'head.weight' leaves a hole");
  refuses(two("[8,12]", "[4,8]"), 12, "'head.weight' leaves a hole");
  refuses(two("[0,4]", "[4,8]"), 9, "1 bytes at its end");
  refuses(two("[0,4]", "[4,8]"), 7, "'head.weight' lies at bytes 4..8 of 7");  // truncated by one byte
  refuses(two("[0,4]", "[8,4]"), 8, "'head.weight' lies at");
  refuses(two("[0,4]", "[1000000000000,1000000000004]"), 8, "'head.weight' lies at");
  refuses("{}", 5, "5 bytes at its end");
}

// Deeply nested or long values make a parser use many times their length.
TEST(HostileSafetensors, DeepAndLongHeadersDoNotGrowInMemory) {
  const std::size_t many = 8'000'000;
  refuses("{\"a\":" + std::string(many, '['), 0, "its header");
  std::string objects = "{";
  for (int depth = 0; depth < 1'000'000; ++depth) {
    objects += "\"a\":{";
  }
  refuses(objects, 0, "nested");
  std::string list = "[0";
  for (std::size_t i = 0; i < 4 * many; ++i) {
    list += ",0";
  }
  refuses(tensor("F32", list + "]", "[0,4]"), 4, "its header");
}

TEST(HostileSafetensors, FoldersAndMissingFilesAreErrors) {
  const TemporaryDirectory directory;
  EXPECT_THROW(read_safetensors(directory.path()), Error);
  EXPECT_THROW(read_safetensors(directory.path() / "missing"), Error);
}

// With random bytes in length and header, a file is refused, or read with all its data, and then Python's safetensors
// must read it too. MASKEDKD_FLIPS=N sets the number of files.
TEST(HostileSafetensors, RandomDamageNeverCrashes) {
  const char* given = std::getenv("MASKEDKD_FLIPS");
  const int flips = given != nullptr ? std::atoi(given) : 20000;
  const TemporaryDirectory directory;
  const int memory = memfd_create("flipped", 0);  // a file in memory, faster than one on a disk
  const std::filesystem::path path = fmt::format("/proc/self/fd/{}", memory);
  std::string header = R"({"__metadata__":{"format":"pt"})";
  const std::vector<std::string> dtypes = {"F64", "F32", "F16", "BF16", "I64", "I32", "U8", "BOOL"};
  const std::vector<std::size_t> sizes = {8, 4, 2, 2, 8, 4, 1, 1};
  std::size_t offset = 0;
  for (std::size_t i = 0; i < dtypes.size(); ++i) {
    const std::size_t end = offset + 6 * sizes[i];
    header += fmt::format(R"(,"blocks.{}.weight":{{"dtype":"{}","shape":[2,3],"data_offsets":[{},{}]}})", i, dtypes[i],
                          offset, end);
    offset = end;
  }
  const std::string sound = with_length(header + "}    ", offset);
  const std::size_t header_end = sound.size() - offset;
  std::mt19937 random(20240);
  const std::string likely = "{}[]\",:0123456789-.eFUIB \\_";
  int accepted = 0, read = 0;
  for (int i = 0; i < flips; ++i) {
    std::string file = sound;
    for (int changes = 1 + static_cast<int>(random() % 3); changes > 0; --changes) {
      const std::size_t at = random() % 8 == 0 ? random() % 8 : 8 + random() % (header_end - 8);
      switch (random() % 5) {
        case 0:
          file[at] = static_cast<char>(file[at] ^ (1 << random() % 8));
          break;
        case 1:
          file[at] = static_cast<char>(random());
          break;
        case 2:
          file[at] = likely[random() % likely.size()];
          break;
        case 3:
          std::swap(file[at], file[8 + random() % (header_end - 8)]);
          break;
        default:
          file.resize(file.size() - random() % 3);
      }
    }
    ASSERT_EQ(ftruncate(memory, 0), 0);
    ASSERT_EQ(pwrite(memory, file.data(), file.size(), 0), static_cast<ssize_t>(file.size()));
    try {
      std::size_t covered = 0;
      for (const auto& [name, tensor] : read_safetensors(path).tensors) {
        covered += tensor.nbytes();
      }
      std::uint64_t length = 0;
      std::memcpy(&length, file.data(), sizeof(length));
      ASSERT_EQ(covered, file.size() - 8 - length);
      ++read;
      if (file != sound && accepted < 300) {
        write(directory.path() / fmt::format("{:04}.safetensors", accepted++), file);
      }
    } catch (const Error&) {
    } catch (const std::exception& other) {
      FAIL() << other.what() << "\n" << file.substr(8, header_end - 8);
    }
  }
  EXPECT_GT(read, flips / 100);  // changed names leave a valid file
  EXPECT_LT(read, flips / 2);
  close(memory);
  const auto python = testing::run_process({"bash", "-c",
                                            "ulimit -v unlimited 2>/dev/null; exec " MASKEDKD_PYTHON
                                            " " MASKEDKD_SOURCE_DIR "/tests/io/read_back.py accept " +
                                                directory.path().string()});
  EXPECT_EQ(python.output, fmt::format("{} files accepted\n", accepted));
}

// 100,000 tensors, more than any model has, are read in a second or two, not in the hours that a search among all for
// each would take. (Bounded by the test's time limit, not timed.)
TEST(HostileSafetensors, ManyTensorsTakeNoLongerThanTheirText) {
  std::string header = "{";
  for (int i = 0; i < 100'000; ++i) {
    header +=
        (i > 0 ? ",\"" : "\"") + std::to_string(i) + "\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}";
  }
  const TemporaryDirectory directory;
  write(directory.path() / "many", with_length(header + "}", 0));
  EXPECT_EQ(read_safetensors_header(directory.path() / "many").tensors.size(), 100'000U);
  std::string values = "{";
  for (int i = 0; i < 1'100'000; ++i) {
    values += (i > 0 ? ",\"" : "\"") + std::to_string(i) + "\":0";
  }
  EXPECT_NE(refusal(with_length(values + "}", 0)).find("has more than 1000000 values"), std::string::npos);
}

}  // namespace
}  // namespace maskedkd
