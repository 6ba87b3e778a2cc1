#include "cgroup.hpp"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <system_error>

namespace maskedkd {
namespace {

constexpr double kNoLimit = 1e9;

double quota_of(const std::filesystem::path& group) {
  std::ifstream v2(group / "cpu.max");
  std::string text;
  double quota = 0, period = 0;
  if (v2 >> text >> period && period > 0) {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), quota);
    if (error == std::errc() && end == text.data() + text.size() && quota > 0) {
      return quota / period;
    }
  }
  return kNoLimit;
}

double v1_quota(const std::filesystem::path& root) {
  std::ifstream quota_file(root / "cpu/cpu.cfs_quota_us"), period_file(root / "cpu/cpu.cfs_period_us");
  double quota = 0, period = 0;
  const bool is_set = quota_file >> quota && period_file >> period && quota > 0 && period > 0;
  return is_set ? quota / period : kNoLimit;
}

bool is_within(const std::string& group, const std::string& level) {
  return level == "/" || group == level || group.starts_with(level + "/");
}

}  // namespace

std::string own_cgroup() {
  std::ifstream file("/proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("0::/") && line.find("/..") == std::string::npos) {
      return line.substr(3);
    }
  }
  return "/";
}

double cgroup_cores(const std::filesystem::path& root, const std::string& own, const std::vector<std::string>& groups) {
  double cores = v1_quota(root) / static_cast<double>(std::max<std::size_t>(groups.size(), 1));
  for (std::string level = own;; level = level.substr(0, std::max<std::size_t>(level.rfind('/'), 1))) {
    const auto sharing =
        std::count_if(groups.begin(), groups.end(), [&](const std::string& group) { return is_within(group, level); });
    const double quota = quota_of(level == "/" ? root : root / level.substr(1));
    cores = std::min(cores, quota / static_cast<double>(std::max<std::ptrdiff_t>(sharing, 1)));
    if (level == "/") {
      return cores;
    }
  }
}

}  // namespace maskedkd
