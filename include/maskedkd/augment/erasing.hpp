// What random erasing writes into its boxes after normalisation: timm's modes pixel, rand and const. The values are
// made by the kernel that prepares a batch (kernels/prepare_batch.hpp).
#pragma once

#include "maskedkd/augment/planned_erasure.hpp"
#include "maskedkd/base/philox.hpp"
#include "maskedkd/codecs/image.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace maskedkd {

std::string to_string(ErasingMode mode);                  // "pixel", "rand", "const"
ErasingMode parse_erasing_mode(const std::string& text);  // throws Error (usage) listing the names

// number: of the box in its image, from 0; each has different random numbers. Throws Error where the address exceeds
// its limits.
PlannedErasure plan_erasure(const PixelBox& box, ErasingMode mode, const RandomAddress& address, std::uint32_t number);

// The bits of the float32 quantiles (i + 32768.5) / 65536 of a standard normal, [kNumErasingQuantiles]: the upper half
// of 65,536, as the lower half is its mirror image. The largest is 4.17, and no value's probability is off by more than
// 1 / 131072.
const std::vector<std::uint32_t>& erasing_quantiles();

}  // namespace maskedkd
