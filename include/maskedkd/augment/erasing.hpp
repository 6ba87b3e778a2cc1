// What random erasing writes into its boxes after normalisation: timm's modes pixel, rand and const.
#pragma once

#include "maskedkd/base/philox.hpp"

#include <cstdint>
#include <span>
#include <string>

namespace maskedkd {

enum class ErasingMode { pixel, rand, constant };         // N(0, 1) for each value; N(0, 1) for each channel; 0
std::string to_string(ErasingMode mode);                  // "pixel", "rand", "const"
ErasingMode parse_erasing_mode(const std::string& text);  // throws Error (usage) listing the names

// Standard normals, one for every 16 bits of the stream at `address` from block first_block on, the low half of a word
// first: bits i give the quantile of (i + 0.5) / 65536. So the largest is 4.17, and no value's probability is off by
// more than 1 / 131072. Throws Error where the address exceeds its limits.
void fill_erasing_noise(const RandomAddress& address, std::span<float> out, std::uint32_t first_block = 0);

// out: [3, height, width], for box number `box` (from 0) of the image; each box has different random numbers.
void fill_erasure(ErasingMode mode, const RandomAddress& address, std::uint32_t box, std::span<float> out);

}  // namespace maskedkd
