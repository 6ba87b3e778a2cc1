// A file that a server replaces while it is read.
#include "maskedkd/base/error.hpp"
#include "maskedkd/io/posix.hpp"
#include "support/error_of.hpp"
#include "support/temporary_directory.hpp"

#include <gtest/gtest.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>

namespace {
int failures_left = 0;
}  // namespace

// Replaces the C library's function: the next calls fail like those of NFS on a removed file.
extern "C" ssize_t pread(int file, void* bytes, std::size_t size, off_t offset) noexcept {
  if (failures_left > 0) {
    --failures_left;
    errno = ESTALE;
    return -1;
  }
  return ::syscall(SYS_pread64, file, bytes, size, offset);
}

namespace maskedkd::testing {
namespace {

TEST(ReadTextFileIfThere, RetriesIfTheFileWasReplaced) {
  const TemporaryDirectory folder;
  const auto path = folder.path() / "owner.json";
  std::ofstream(path) << "written anew";
  failures_left = 2;
  EXPECT_EQ(read_text_file_if_exists(path, 100), "written anew");
  EXPECT_EQ(failures_left, 0) << "no call failed";
}

TEST(ReadTextFileIfThere, GivesUpIfTheFileStaysStale) {
  const TemporaryDirectory folder;
  const auto path = folder.path() / "owner.json";
  std::ofstream(path) << "text";
  failures_left = 1000;
  EXPECT_NE(error_of([&] { read_text_file_if_exists(path, 100); }).find(path.string()), std::string::npos);
  failures_left = 0;
}

}  // namespace
}  // namespace maskedkd::testing
