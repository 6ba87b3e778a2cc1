// The rounds of Philox4x32-10 (philox.hpp), written once for the CPU and for CUDA kernels. C++17.
#pragma once

#include "maskedkd/base/host_device.hpp"

#include <cstdint>

namespace maskedkd {

// Turns a counter, four words, into the block of four random words that belongs to it and the key, two words.
MASKEDKD_HOST_DEVICE inline void philox_rounds(std::uint32_t* counter, std::uint32_t key0, std::uint32_t key1) {
  constexpr std::uint32_t multiplier0 = 0xD2511F53u, multiplier1 = 0xCD9E8D57u;
  constexpr std::uint32_t weyl0 = 0x9E3779B9u, weyl1 = 0xBB67AE85u;
  constexpr int num_rounds = 10;
  for (int round = 0; round < num_rounds; ++round) {
    const std::uint64_t product0 = std::uint64_t{multiplier0} * counter[0];
    const std::uint64_t product1 = std::uint64_t{multiplier1} * counter[2];
    counter[0] = static_cast<std::uint32_t>(product1 >> 32) ^ counter[1] ^ key0;
    counter[1] = static_cast<std::uint32_t>(product1);
    counter[2] = static_cast<std::uint32_t>(product0 >> 32) ^ counter[3] ^ key1;
    counter[3] = static_cast<std::uint32_t>(product0);
    key0 += weyl0;
    key1 += weyl1;
  }
}

}  // namespace maskedkd
