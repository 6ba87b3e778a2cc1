// What to load next, and where its random numbers are.
#pragma once

#include "maskedkd/base/philox.hpp"

#include <cstdint>
#include <vector>

namespace maskedkd {

// A training micro-batch (augmented by its address) or an evaluation batch.
struct BatchRequest {
  std::uint32_t epoch = 0;
  std::uint32_t step = 0;
  std::uint32_t micro_batch = 0;
  std::vector<std::int64_t> indices;  // [B] records

  // Where the random numbers of a decision about this micro-batch, or about the image at `position` of it, are drawn.
  RandomAddress address(RandomPurpose purpose, std::uint64_t seed, std::uint32_t position = 0) const {
    return {seed, purpose, epoch, step, micro_batch, position};
  }
};

}  // namespace maskedkd
