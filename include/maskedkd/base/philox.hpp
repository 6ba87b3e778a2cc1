// Random numbers that are addressed, not drawn in a row: the Philox4x32-10 generator of Salmon, Moraes, Dror and Shaw,
// "Parallel Random Numbers: As Easy as 1, 2, 3" (SC 2011). A decision is a pure function of (seed, purpose, epoch,
// step, micro-batch, position), so no rank, thread or restart changes it, and the state of the data pipeline is four
// integers.
#pragma once

#include <array>
#include <cstdint>

namespace maskedkd {

using PhiloxCounter = std::array<std::uint32_t, 4>;
using PhiloxKey = std::array<std::uint32_t, 2>;

// One block of four random words (10 rounds).
PhiloxCounter philox4x32(PhiloxCounter counter, PhiloxKey key) noexcept;

// What a stream is for: no two purposes share numbers. A seed means the same only while the values stay: only append.
enum class RandomPurpose : std::uint8_t {
  initialisation = 0,
  sample_order = 1,
  augmentation = 2,
  erasing_noise = 3,
  mixing = 4,
  drop_path = 5,
  patch_selection = 6,
  packing_order = 7,
};

// Where in the run a decision belongs. Limits: epoch < 2^24, micro_batch and position < 2^16.
struct RandomAddress {
  std::uint64_t seed = 0;
  RandomPurpose purpose = RandomPurpose::initialisation;
  std::uint32_t epoch = 0;
  std::uint32_t step = 0;
  std::uint32_t micro_batch = 0;
  std::uint32_t position = 0;
};

// The key of an address, and the counter of its first block; the following blocks have the next values of its first
// word. philox_counter() throws Error (usage) on an address past its limits.
PhiloxKey philox_key(const RandomAddress& address) noexcept;
PhiloxCounter philox_counter(const RandomAddress& address);

// The numbers at one address, in order. Cheap to make; copy it to draw the same numbers again. Throws Error (usage) on
// an address past its limits.
class PhiloxStream {
 public:
  explicit PhiloxStream(const RandomAddress& address);

  std::uint32_t next_word() noexcept;
  // Uniform on [0, 1) with 53 random bits.
  double uniform() noexcept;
  // Uniform on [low, high).
  double uniform(double low, double high) noexcept;
  // Uniform integer on [0, bound), bound >= 1, without modulo bias (Lemire's rejection).
  std::uint32_t below(std::uint32_t bound) noexcept;
  // Standard normal (Box-Muller).
  double normal() noexcept;
  // Gamma(shape, 1), shape > 0 (Marsaglia and Tsang 2000; shape < 1 by their boost).
  double gamma(double shape) noexcept;
  // Beta(a, b) as a quotient of gammas.
  double beta(double a, double b) noexcept;

 private:
  PhiloxKey key_;
  PhiloxCounter counter_;
  PhiloxCounter block_{};
  unsigned used_ = 4;
  double spare_normal_ = 0.0;
  bool has_spare_normal_ = false;
};

}  // namespace maskedkd
