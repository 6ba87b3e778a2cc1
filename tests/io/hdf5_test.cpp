// HDF5 files compared with h5py in both directions, offsets of datasets, and files that reach a size limit.
#include "maskedkd/io/hdf5.hpp"

#include "maskedkd/base/error.hpp"
#include "maskedkd/io/posix.hpp"
#include "support/process.hpp"
#include "support/temporary_directory.hpp"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <thread>

namespace maskedkd::hdf5 {
namespace {

using testing::TemporaryDirectory;

template <typename T>
std::vector<T> numbers() {
  std::vector<T> values;
  for (std::int64_t i = 0; i < 24; ++i) {
    values.push_back(static_cast<T>(i * 1000003 % 251));
  }
  return values;
}

template <typename T>
void write_numbers(const Handle& file, const char* name) {
  const std::vector<T> values = numbers<T>();
  write_dataset<T>(file, name, values, {4, 3, 2});
}

void write_example(const std::filesystem::path& path) {
  const Handle file = create_file_in_memory();
  write_numbers<std::uint8_t>(file, "uint8");
  write_numbers<std::int32_t>(file, "int32");
  write_numbers<std::uint32_t>(file, "uint32");
  write_numbers<std::int64_t>(file, "int64");
  write_numbers<std::uint64_t>(file, "uint64");
  write_dataset<std::int64_t>(file, "empty", {}, {0, 3});
  write_attribute(file, "number", -(std::int64_t{1} << 40));
  write_attribute(file, "text", std::string("Bügeleisen"));
  const std::vector<std::int64_t> list = {0, -1, std::int64_t{1} << 62};
  write_attribute(file, "numbers", std::span<const std::int64_t>(list));
  const std::vector<std::string> texts = {"T-shirt/top", "", "größer"};
  write_attribute(file, "texts", std::span<const std::string>(texts));
  std::vector<std::string> many;  // as many as ImageNet-21k: too many for an object header
  for (int i = 0; i < 21841; ++i) {
    many.push_back("class " + std::to_string(i));
  }
  write_attribute(file, "many", std::span<const std::string>(many));
  flush(file);
  std::vector<std::uint8_t> bytes(size_in_memory(file));
  read_from_memory(file, 0, bytes);
  write_all(maskedkd::create_file(path), bytes, path);
}

TEST(Hdf5, WrittenFilesAreReadByH5pyAndByThisModule) {
  const TemporaryDirectory directory;
  const auto path = directory.path() / "example.h5";
  write_example(path);
  const auto python =
      testing::run_process({MASKEDKD_PYTHON, MASKEDKD_SOURCE_DIR "/tests/io/read_back.py", "hdf5", path.string()});
  EXPECT_EQ(python.output, "equal\n");

  const Handle file = open_file(path);
  EXPECT_EQ(read_dataset<std::uint8_t>(file, "uint8"), numbers<std::uint8_t>());
  EXPECT_EQ(read_dataset<std::int32_t>(file, "int32"), numbers<std::int32_t>());
  EXPECT_EQ(read_dataset<std::uint32_t>(file, "uint32"), numbers<std::uint32_t>());
  EXPECT_EQ(read_dataset<std::int64_t>(file, "int64"), numbers<std::int64_t>());
  EXPECT_EQ(read_dataset<std::uint64_t>(file, "uint64"), numbers<std::uint64_t>());
  EXPECT_TRUE(read_dataset<std::int64_t>(file, "empty").empty());
  EXPECT_EQ(describe_dataset(file, "empty").shape, (std::vector<std::uint64_t>{0, 3}));
  EXPECT_EQ(read_integer_attribute(file, "number"), -(std::int64_t{1} << 40));
  EXPECT_EQ(read_string_attribute(file, "text"), "Bügeleisen");
  EXPECT_EQ(read_integer_list_attribute(file, "numbers"), (std::vector<std::int64_t>{0, -1, std::int64_t{1} << 62}));
  EXPECT_EQ(read_string_list_attribute(file, "texts"), (std::vector<std::string>{"T-shirt/top", "", "größer"}));
  EXPECT_EQ(read_string_list_attribute(file, "many").size(), 21841u);
}

// The loader reads at this offset without HDF5.
TEST(Hdf5, BytesLieAtTheReportedOffset) {
  const TemporaryDirectory directory;
  const auto path = directory.path() / "example.h5";
  write_example(path);
  DatasetInfo info;
  {
    const Handle file = open_file(path);
    info = describe_dataset(file, "uint32");
  }
  EXPECT_TRUE(info.contiguous);
  EXPECT_EQ(info.type, "uint32");
  EXPECT_EQ(info.shape, (std::vector<std::uint64_t>{4, 3, 2}));
  std::vector<std::uint8_t> bytes(24 * 4);
  read_exactly(open_for_reading(path), info.file_offset, bytes, path);
  EXPECT_EQ(std::memcmp(bytes.data(), numbers<std::uint32_t>().data(), bytes.size()), 0);
}

TEST(Hdf5, FilesOfH5pyAreRead) {
  const Handle file = open_file(std::filesystem::path(MASKEDKD_REFERENCE_DIR) / "h5py.h5");
  const auto expected = [](std::int64_t i, std::int64_t shift) { return i * 7919 - shift; };
  const auto bytes = read_dataset<std::uint8_t>(file, "uint8");
  const auto small = read_dataset<std::int32_t>(file, "int32");
  const auto large = read_dataset<std::int64_t>(file, "int64");
  const auto natural = read_dataset<std::uint64_t>(file, "uint64");
  ASSERT_EQ(bytes.size(), 60u);
  for (std::int64_t i = 0; i < 60; ++i) {
    const auto at = static_cast<std::size_t>(i);
    EXPECT_EQ(bytes[at], expected(i, 0) % 256);
    EXPECT_EQ(small[at], expected(i, 100000));
    EXPECT_EQ(large[at], expected(i, 100000));
    EXPECT_EQ(natural[at], static_cast<std::uint64_t>(expected(i, 0)));
  }
  EXPECT_EQ(describe_dataset(file, "int32").shape, (std::vector<std::uint64_t>{3, 4, 5}));
  EXPECT_FALSE(describe_dataset(file, "chunked").contiguous);
  EXPECT_EQ(describe_dataset(file, "float32").type, "other");
  EXPECT_EQ(describe_dataset(file, "big_endian").type, "other");
  EXPECT_EQ(read_integer_attribute(file, "number"), -5);
  EXPECT_EQ(read_integer_attribute(file, "small"), -7);
  EXPECT_EQ(read_string_attribute(file, "text"), "Bügeleisen");
  EXPECT_EQ(read_integer_list_attribute(file, "numbers"), (std::vector<std::int64_t>{1, 2, std::int64_t{1} << 40}));
  EXPECT_EQ(read_string_list_attribute(file, "texts"), (std::vector<std::string>{"a", "", "Hemd/Bluse"}));
}

TEST(Hdf5, MisuseIsAnErrorThatSaysWhatIsWrong) {
  const TemporaryDirectory directory;
  const auto path = directory.path() / "example.h5";
  write_example(path);
  const Handle file = open_file(path);
  const auto expect_error = [](auto&& work, const std::string& text) {
    try {
      work();
      ADD_FAILURE() << "no Error: " << text;
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(text), std::string::npos) << error.what();
    }
  };
  expect_error([&] { read_dataset<std::int64_t>(file, "labels"); }, "labels");
  expect_error([&] { read_dataset<std::int64_t>(file, "int32"); }, "holds int32 instead of int64");
  expect_error([&] { read_integer_attribute(file, "none"); }, "none");
  expect_error([&] { read_integer_attribute(file, "text"); }, "another type");
  expect_error([&] { read_string_attribute(file, "number"); }, "another type");
  expect_error([&] { read_integer_attribute(file, "numbers"); }, "not a single number");
  expect_error([&] { read_string_attribute(file, "texts"); }, "not a single string");
  expect_error([&] { open_file(directory.path() / "none.h5"); }, "none.h5");
  std::ofstream(directory.path() / "text.h5") << "this is no HDF5 file, whatever it is called";
  expect_error([&] { open_file(directory.path() / "text.h5"); }, "text.h5");
  expect_error([&] { write_attribute(file, "more", std::int64_t{1}); }, "more");  // opened for reading
}

// With times in the file, packing the same images twice would give two different sets.
TEST(Hdf5, TheSameContentGivesTheSameBytes) {
  const TemporaryDirectory directory;
  write_example(directory.path() / "a.h5");
  std::this_thread::sleep_for(std::chrono::milliseconds(1100));  // HDF5's times are whole seconds
  write_example(directory.path() / "b.h5");
  EXPECT_TRUE(read_text_file(directory.path() / "a.h5") == read_text_file(directory.path() / "b.h5"));
}

// The limit on file sizes also applies to files in memory. HDF5 crashes when it closes a file that it could not write,
// so the limit must give an Error before.
TEST(Hdf5, ALimitOnFileSizesIsAnErrorAndTheProgramExitsNormally) {
  for (const rlim_t limit_bytes : {0u, 100u, 2000u, 4096u, 100000u, 999000u, 1000000u}) {
    const pid_t child = fork();
    if (child == 0) {
      alarm(30);
      signal(SIGXFSZ, SIG_IGN);
      const rlimit limit{limit_bytes, limit_bytes};
      setrlimit(RLIMIT_FSIZE, &limit);
      int code = 3;
      try {
        const Handle file = create_file_in_memory();
        const std::vector<std::uint8_t> bytes(1000000, 7);
        write_dataset<std::uint8_t>(file, "bytes", bytes, {bytes.size()});
        write_attribute(file, "number", std::int64_t{1});
        flush(file);
      } catch (const Error&) {
        code = 7;
      }
      std::exit(code);  // closes the library
    }
    int status = 0;
    waitpid(child, &status, 0);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 7) << "limit " << limit_bytes << ", status " << status;
  }
}

}  // namespace
}  // namespace maskedkd::hdf5
