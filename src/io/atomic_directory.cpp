#include "maskedkd/io/atomic_directory.hpp"

#include "maskedkd/base/error.hpp"
#include "maskedkd/io/posix.hpp"

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace maskedkd {
namespace {

constexpr const char* kUnfinished = ".tmp-";

}  // namespace

AtomicDirectory::AtomicDirectory(std::filesystem::path final_path)
    : final_path_(std::filesystem::absolute(final_path)) {
  if (!final_path_.has_filename()) {  // given with a slash at its end
    final_path_ = final_path_.parent_path();
  }
  std::string pattern =
      (final_path_.parent_path() / (kUnfinished + final_path_.filename().string() + "-XXXXXX")).string();
  if (mkdtemp(pattern.data()) == nullptr) {
    throw Error(fmt::format("can't create a folder for {}: {}", final_path_.string(), std::strerror(errno)));
  }
  temporary_path_ = pattern;
  std::filesystem::permissions(temporary_path_, std::filesystem::perms(0755));
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
    throw Error(fmt::format("can't put {} in its place: {}", final_path_.string(), std::strerror(errno)));
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
    throw Error(fmt::format("can't read {}: {}", directory.string(), error.code().message()));
  }
  sync_directory(directory);
}

void sweep_unfinished(const std::filesystem::path& parent) {
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(parent, ignored)) {
    if (entry.path().filename().string().rfind(kUnfinished, 0) == 0) {
      std::filesystem::remove_all(entry.path(), ignored);
    }
  }
}

}  // namespace maskedkd
