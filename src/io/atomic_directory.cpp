#include "maskedkd/io/atomic_directory.hpp"

#include "maskedkd/base/error.hpp"
#include "maskedkd/io/posix.hpp"
#include "maskedkd/io/unfinished.hpp"

#include <sys/stat.h>

#include <cerrno>
#include <cstdio>

namespace maskedkd {
namespace {

FileError failure(const std::string& what, const std::filesystem::path& path, int reason = errno) {
  return FileError(what, path, reason);
}

}  // namespace

AtomicDirectory::AtomicDirectory(std::filesystem::path final_path)
    : final_path_(std::filesystem::absolute(final_path)) {
  if (!final_path_.has_filename()) {  // given with a slash at its end
    final_path_ = final_path_.parent_path();
  }
  do {
    temporary_path_ = unfinished_path(final_path_);
    if (::mkdir(temporary_path_.c_str(), 0777) == 0) {
      return;
    }
  } while (errno == EEXIST);
  throw failure("can't create a folder for", final_path_);
}

AtomicDirectory::~AtomicDirectory() {
  if (!committed_) {
    std::error_code ignored;
    std::filesystem::remove_all(temporary_path_, ignored);
  }
}

void AtomicDirectory::commit() {
  sync_tree(temporary_path_);
  // rename() would replace an empty folder silently; anything that is there is somebody's.
  if (std::filesystem::exists(final_path_)) {
    throw Error(fmt::format("{} exists already", final_path_.string()));
  }
  if (std::rename(temporary_path_.c_str(), final_path_.c_str()) != 0) {
    throw failure("can't put in its place", final_path_);
  }
  committed_ = true;
  sync_directory(final_path_.parent_path());
}

void sync_tree(const std::filesystem::path& directory) {
  try {
    for (const auto& entry : std::filesystem::recursive_directory_iterator(directory)) {
      if (entry.is_directory()) {
        sync_directory(entry.path());
      } else if (entry.is_regular_file()) {
        sync_file(open_for_reading(entry.path()), entry.path());
      }
    }
  } catch (const std::filesystem::filesystem_error& error) {
    throw failure("can't read", directory, error.code().value());
  }
  sync_directory(directory);
}

}  // namespace maskedkd
