#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

namespace maskedkd::testing {

// The two-sample Kolmogorov-Smirnov distance, divided by the distance that is exceeded by chance once in 10,000 times:
// below 1 if the distributions agree. Ties only make the true probability smaller.
inline double distance_of_samples(std::vector<double> a, std::vector<double> b) {
  std::sort(a.begin(), a.end());
  std::sort(b.begin(), b.end());
  const auto n = static_cast<double>(a.size()), m = static_cast<double>(b.size());
  double largest = 0;
  for (std::size_t i = 0, j = 0; i < a.size() && j < b.size();) {
    const double value = std::min(a[i], b[j]);
    while (i < a.size() && a[i] == value) {
      ++i;
    }
    while (j < b.size() && b[j] == value) {
      ++j;
    }
    largest = std::max(largest, std::abs(static_cast<double>(i) / n - static_cast<double>(j) / m));
  }
  return largest / (std::sqrt(-0.5 * std::log(0.5e-4)) * std::sqrt((n + m) / (n * m)));
}

}  // namespace maskedkd::testing
