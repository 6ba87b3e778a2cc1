#include "names.hpp"

#include <algorithm>
#include <limits>
#include <numeric>
#include <vector>

namespace maskedkd {
namespace {

// Levenshtein distance: how many letters to add, drop or change.
std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t changed = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, changed});
    }
  }
  return row.back();
}

}  // namespace

std::string with_dashes(std::string name) {
  std::replace(name.begin(), name.end(), '_', '-');
  return name;
}

std::string nearest_name(std::string_view misspelt, std::span<const std::string> names) {
  std::string nearest;
  std::size_t best = std::numeric_limits<std::size_t>::max();
  for (const std::string& name : names) {
    const std::size_t distance = edit_distance(misspelt, name);
    if (distance < best) {
      best = distance;
      nearest = name;
    }
  }
  return best <= std::max<std::size_t>(2, misspelt.size() / 3) ? nearest : "";
}

}  // namespace maskedkd
