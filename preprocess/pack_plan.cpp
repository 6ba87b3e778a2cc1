#include "preprocess/pack_plan.hpp"

#include "maskedkd/base/error.hpp"
#include "maskedkd/base/philox.hpp"

#include <array>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>

namespace maskedkd {

std::string PlanOptions::identity() const {
  return fmt::format("{} {} {}", shuffle ? fmt::format("seed {}", seed) : "in order",
                     records_per_shard > 0 ? 0 : shard_bytes, records_per_shard);
}

PackPlan make_plan(std::span<const std::uint64_t> record_bytes, const PlanOptions& options) {
  if (record_bytes.size() > std::numeric_limits<std::uint32_t>::max()) {
    throw usage_error(fmt::format("{} images are more than this program can pack into one set", record_bytes.size()));
  }
  PackPlan plan;
  plan.order.resize(record_bytes.size());
  std::iota(plan.order.begin(), plan.order.end(), 0u);
  if (options.shuffle) {
    RandomAddress address;
    address.seed = options.seed;
    address.purpose = RandomPurpose::packing_order;
    PhiloxStream random(address);
    for (auto i = static_cast<std::uint32_t>(plan.order.size()); i > 1; --i) {
      std::swap(plan.order[i - 1], plan.order[random.below(i)]);
    }
  }
  std::uint64_t bytes = 0;
  std::int64_t count = 0;
  plan.first_image = {0};
  for (std::size_t i = 0; i < plan.order.size(); ++i) {
    const std::uint64_t more = record_bytes[plan.order[i]];
    const bool full = options.records_per_shard > 0 ? count == options.records_per_shard
                                                    : count > 0 && bytes + more > options.shard_bytes;
    if (full) {
      plan.first_image.push_back(static_cast<std::int64_t>(i));
      bytes = 0;
      count = 0;
    }
    bytes += more;
    ++count;
  }
  plan.first_image.push_back(static_cast<std::int64_t>(record_bytes.size()));
  return plan;
}

std::uint64_t parse_size(const std::string& text) {
  const auto refuse = [&](const std::string& why) {
    return usage_error(fmt::format("'{}' is not a size: {}", text, why), "write 300MiB, 1GiB or a number of bytes");
  };
  constexpr std::array<std::pair<const char*, double>, 8> kUnits = {{{"", 1.0},
                                                                     {"B", 1.0},
                                                                     {"KiB", 1024.0},
                                                                     {"MiB", 1048576.0},
                                                                     {"GiB", 1073741824.0},
                                                                     {"KB", 1e3},
                                                                     {"MB", 1e6},
                                                                     {"GB", 1e9}}};
  const std::size_t digits = std::min(text.find_first_not_of("0123456789."), text.size());
  const std::size_t unit = std::min(text.find_first_not_of(' ', digits), text.size());
  double value = 0;
  try {
    std::size_t used = 0;
    value = std::stod(text.substr(0, digits), &used);
    if (used != digits) {
      throw refuse("it does not begin with a number");
    }
  } catch (const std::logic_error&) {
    throw refuse("it does not begin with a number");
  }
  for (const auto& [name, factor] : kUnits) {
    if (text.substr(unit) == name) {
      const double bytes = value * factor;
      if (!(bytes >= 1.0) || bytes > 1e15) {
        throw refuse("it is outside 1 byte to 1,000 TB");
      }
      return static_cast<std::uint64_t>(std::llround(bytes));
    }
  }
  throw refuse("its unit is not KiB, MiB or GiB");
}

std::string size_text(double bytes) {
  for (const auto& [unit, factor] : {std::pair("TB", 1e12), {"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3}}) {
    if (bytes >= factor) {
      return fmt::format("{:.1f} {}", bytes / factor, unit);
    }
  }
  return fmt::format("{:.0f} B", bytes);
}

}  // namespace maskedkd
