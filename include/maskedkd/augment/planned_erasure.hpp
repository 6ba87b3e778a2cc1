// One box of random erasing with everything that its content depends on, so that a kernel can fill it. CUDA code, which
// is C++17, includes this too.
#pragma once

#include <cstdint>

namespace maskedkd {

enum class ErasingMode : std::int32_t { pixel, rand, constant };  // N(0, 1) for each value; for each channel; 0

// Value i of the box, in the order [3, height, width], is the standard normal of the 16 bits number i (mode rand: the
// channel's number) of the Philox stream that begins at key and counter, the low half of a word first: bits b give the
// quantile of (b + 0.5) / 65536.
struct PlannedErasure {
  std::int32_t top, left, height, width;  // pixels; height 0: no box
  ErasingMode mode;
  std::uint32_t key[2];
  std::uint32_t counter[4];
};
inline constexpr int kPlannedErasureWords = 11;  // of 32 bits
static_assert(sizeof(PlannedErasure) == kPlannedErasureWords * sizeof(std::int32_t));

inline constexpr int kNumErasingQuantiles = 32768;

}  // namespace maskedkd
