// Numbers whose sum depends on the order of additions: mixed signs and seven orders of magnitude.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include <cmath>
#include <cstdint>

namespace maskedkd::testing {

// splitmix64 (Steele, Lea and Flood 2014), so that any rank can compute any other rank's numbers.
inline std::uint64_t splitmix(std::uint64_t x) {
  x += 0x9e3779b97f4a7c15ULL;
  x = (x ^ (x >> 30U)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27U)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31U);
}

inline at::Tensor noise(std::int64_t length, std::uint64_t seed) {
  at::Tensor tensor = at::empty({length}, at::kFloat);
  float* values = tensor.mutable_data_ptr<float>();
  for (std::int64_t i = 0; i < length; ++i) {
    const std::uint64_t bits = splitmix(seed * 0x100000001b3ULL + static_cast<std::uint64_t>(i));
    const float mantissa = static_cast<float>(static_cast<std::int32_t>(bits)) * 0x1p-31F;
    values[i] = std::ldexp(mantissa, static_cast<int>((bits >> 40U) % 24U) - 12);
  }
  return tensor;
}

}  // namespace maskedkd::testing
