#include "maskedkd/augment/erasing.hpp"

#include "maskedkd/base/enum_names.hpp"

#include <array>
#include <bit>
#include <cmath>

namespace maskedkd {
namespace {

constexpr std::uint32_t kBlocksOfBox = 1u << 20;  // 8 million values

template <std::size_t n>
double polynomial(const std::array<double, n>& coefficients, double x) {
  double value = 0;
  for (auto c = coefficients.rbegin(); c != coefficients.rend(); ++c) {
    value = value * x + *c;
  }
  return value;
}

// The normal distribution's quantile: M. J. Wichura, "Algorithm AS 241: The Percentage Points of the Normal
// Distribution", Applied Statistics 37 (1988), PPND16, about 1 part in 10^16.
double normal_quantile(double p) {
  constexpr std::array<double, 8> a = {3.3871328727963666080e0,  1.3314166789178437745e+2, 1.9715909503065514427e+3,
                                       1.3731693765509461125e+4, 4.5921953931549871457e+4, 6.7265770927008700853e+4,
                                       3.3430575583588128105e+4, 2.5090809287301226727e+3};
  constexpr std::array<double, 8> b = {1.0,
                                       4.2313330701600911252e+1,
                                       6.8718700749205790830e+2,
                                       5.3941960214247511077e+3,
                                       2.1213794301586595867e+4,
                                       3.9307895800092710610e+4,
                                       2.8729085735721942674e+4,
                                       5.2264952788528545610e+3};
  constexpr std::array<double, 8> c = {1.42343711074968357734e0,  4.63033784615654529590e0, 5.76949722146069140550e0,
                                       3.64784832476320460504e0,  1.27045825245236838258e0, 2.41780725177450611770e-1,
                                       2.27238449892691845833e-2, 7.74545014278341407640e-4};
  constexpr std::array<double, 8> d = {1.0,
                                       2.05319162663775882187e0,
                                       1.67638483018380384940e0,
                                       6.89767334985100004550e-1,
                                       1.48103976427480074590e-1,
                                       1.51986665636164571966e-2,
                                       5.47593808499534494600e-4,
                                       1.05075007164441684324e-9};
  const double q = p - 0.5;
  if (std::abs(q) <= 0.425) {
    const double r = 0.180625 - q * q;
    return q * polynomial(a, r) / polynomial(b, r);
  }
  // Valid up to sqrt(-log(p)) = 5, which is far beyond 0.5 / 65536.
  const double r = std::sqrt(-std::log(q < 0 ? p : 1.0 - p)) - 1.6;
  const double magnitude = polynomial(c, r) / polynomial(d, r);
  return q < 0 ? -magnitude : magnitude;
}

constexpr EnumNames<ErasingMode, 3> kModes = {
    {{"pixel", ErasingMode::pixel}, {"rand", ErasingMode::rand}, {"const", ErasingMode::constant}}};

}  // namespace

std::string to_string(ErasingMode mode) { return name_of(kModes, mode); }

ErasingMode parse_erasing_mode(const std::string& text) { return parse_name(kModes, text, "--erasing-mode"); }

PlannedErasure plan_erasure(const PixelBox& box, ErasingMode mode, const RandomAddress& address, std::uint32_t number) {
  const PhiloxKey key = philox_key(address);
  const PhiloxCounter counter = philox_counter(address);
  return {box.top,
          box.left,
          box.height,
          box.width,
          mode,
          {key[0], key[1]},
          {number * kBlocksOfBox, counter[1], counter[2], counter[3]}};
}

const std::vector<std::uint32_t>& erasing_quantiles() {
  static const std::vector<std::uint32_t> table = [] {
    std::vector<std::uint32_t> values(kNumErasingQuantiles);
    for (std::size_t i = 0; i < values.size(); ++i) {
      values[i] = std::bit_cast<std::uint32_t>(
          static_cast<float>(normal_quantile((static_cast<double>(i) + 32768.5) / 65536.0)));
    }
    return values;
  }();
  return table;
}

}  // namespace maskedkd
