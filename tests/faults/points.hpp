// Chooses the points of a scenario to try: by_default of them or every tenth, from an offset that
// MASKEDKD_FAULTS_SEED=N changes; all with MASKEDKD_FAULTS=all; about N of each kind with MASKEDKD_FAULTS=N.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <string>
#include <vector>

namespace maskedkd::testing {

template <typename Point>
std::vector<Point> chosen_points(const std::vector<Point>& all, std::size_t by_default = 0) {
  const char* setting = std::getenv("MASKEDKD_FAULTS");
  const char* seed = std::getenv("MASKEDKD_FAULTS_SEED");
  std::size_t count = by_default > 0 ? by_default : all.size() / 10 + 1;
  if (setting != nullptr) {
    count = std::string(setting) == "all" ? all.size() : static_cast<std::size_t>(std::max(1, std::atoi(setting)));
  }
  const std::size_t stride = std::max<std::size_t>(1, all.size() / std::max<std::size_t>(1, count));
  std::vector<Point> chosen;
  for (std::size_t i = static_cast<std::size_t>(seed != nullptr ? std::atoi(seed) : 3) % stride; i < all.size();
       i += stride) {
    chosen.push_back(all[i]);
  }
  return chosen;
}

}  // namespace maskedkd::testing
