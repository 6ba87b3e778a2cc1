#include "maskedkd/io/unfinished.hpp"

#include "maskedkd/base/process.hpp"
#include "maskedkd/io/digest.hpp"

#include <fmt/format.h>
#include <sys/stat.h>

#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <optional>
#include <random>
#include <string_view>
#include <vector>

namespace maskedkd {
namespace {

namespace fs = std::filesystem;

// <process id>.<its start>.<where it runs>.<random number>
constexpr std::size_t kTagParts = 4;

std::string place_of(const ProcessIdentity& process) {
  const std::string text = process.host + " " + process.boot;
  return fmt::format("{:08x}", crc32_of({reinterpret_cast<const std::uint8_t*>(text.data()), text.size()}));
}

// Of the process that wrote a file of that name; nullopt where the name was given by another program.
std::optional<Liveness> liveness_of_writer(const std::string& name, const ProcessIdentity& me) {
  std::vector<std::string> parts;
  std::string_view tag = std::string_view(name).substr(name.rfind('-') + 1);
  while (parts.size() < kTagParts) {
    const std::size_t end = tag.find('.');
    parts.emplace_back(tag.substr(0, end));
    if (end == std::string_view::npos) {
      break;
    }
    tag.remove_prefix(end + 1);
  }
  if (parts.size() != kTagParts) {
    return std::nullopt;
  }
  if (parts[2] != place_of(me)) {
    return Liveness::unknown;
  }
  return liveness_of({me.host, me.boot, std::atoll(parts[0].c_str()), parts[1]});
}

std::optional<timespec> last_write(const fs::path& path) {
  struct stat status {};
  return ::stat(path.c_str(), &status) == 0 ? std::optional(status.st_mtim) : std::nullopt;
}

// The time by the file system's clock: that of a file server may differ from this machine's.
std::optional<timespec> time_in(const fs::path& directory) {
  const fs::path probe = unfinished_path(directory / "clock");
  std::ofstream(probe) << "\n";
  const auto time = last_write(probe);
  std::error_code ignored;
  fs::remove(probe, ignored);
  return time;
}

std::vector<fs::path> unfinished_files(const fs::path& parent) {
  std::vector<fs::path> paths;
  std::error_code error, ignored;
  for (fs::directory_iterator entry(parent, error); !error && entry != fs::directory_iterator();
       entry.increment(error)) {
    if (entry->path().filename().string().starts_with(kUnfinishedPrefix) && entry->is_regular_file(ignored)) {
      paths.push_back(entry->path());
    }
  }
  return paths;
}

}  // namespace

std::string writer_tag() {
  const ProcessIdentity me = this_process_identity();
  return fmt::format("{}.{}.{}.{:08x}", me.process, me.process_started, place_of(me), std::random_device()());
}

fs::path unfinished_path(const fs::path& final_path) {
  return final_path.parent_path() /
         fmt::format("{}{}-{}", kUnfinishedPrefix, final_path.filename().string(), writer_tag());
}

void sweep_abandoned(const fs::path& parent) {
  const ProcessIdentity me = this_process_identity();
  std::error_code ignored;
  std::vector<fs::path> doubtful;
  for (const fs::path& path : unfinished_files(parent)) {
    const std::optional<Liveness> writer = liveness_of_writer(path.filename().string(), me);
    if (writer == Liveness::dead) {
      fs::remove(path, ignored);
    } else if (writer == Liveness::unknown) {
      doubtful.push_back(path);
    }
  }
  const std::optional<timespec> now = doubtful.empty() ? std::nullopt : time_in(parent);
  for (const fs::path& path : doubtful) {
    const auto written = last_write(path);
    if (now && written && now->tv_sec - written->tv_sec > std::chrono::seconds(kAbandonedAfter).count()) {
      fs::remove(path, ignored);
    }
  }
}

}  // namespace maskedkd
