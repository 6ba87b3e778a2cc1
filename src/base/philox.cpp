#include "maskedkd/base/philox.hpp"

#include "maskedkd/base/clones.hpp"
#include "maskedkd/base/error.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace maskedkd {
namespace {

constexpr std::uint32_t kMultiplier0 = 0xD2511F53u;
constexpr std::uint32_t kMultiplier1 = 0xCD9E8D57u;
constexpr std::uint32_t kWeyl0 = 0x9E3779B9u;
constexpr std::uint32_t kWeyl1 = 0xBB67AE85u;
constexpr int kRounds = 10;

PhiloxKey key_of(const RandomAddress& address) {
  return {static_cast<std::uint32_t>(address.seed), static_cast<std::uint32_t>(address.seed >> 32)};
}

// The counter of the address's first block; throws on an address past its limits.
PhiloxCounter counter_of(const RandomAddress& address) {
  if (address.epoch >= (1u << 24) || address.micro_batch >= (1u << 16) || address.position >= (1u << 16)) {
    throw usage_error(fmt::format("random address past its limits: epoch {}, micro-batch {}, position {}",
                                  address.epoch, address.micro_batch, address.position),
                      "at most 16,777,216 epochs, 65,536 micro-batches a step and 65,536 images a micro-batch");
  }
  return {0, (address.micro_batch << 16) | address.position, address.step,
          (address.epoch << 8) | static_cast<std::uint32_t>(address.purpose)};
}

// The words of kLanes blocks from `counter` on, side by side so that the compiler makes vectors of them. out: [4 *
// kLanes].
constexpr std::uint32_t kLanes = 16;
MASKEDKD_CLONES void fill_blocks(const PhiloxCounter& counter, PhiloxKey key, std::uint32_t* out) {
  // 64 bits wide, as their products are.
  std::uint64_t a[kLanes], b[kLanes], c[kLanes], d[kLanes];
  for (std::uint32_t lane = 0; lane < kLanes; ++lane) {
    a[lane] = counter[0] + lane;
    b[lane] = counter[1];
    c[lane] = counter[2];
    d[lane] = counter[3];
  }
  constexpr std::uint64_t kLow = 0xFFFFFFFFu;
  for (int round = 0; round < kRounds; ++round) {
    for (std::uint32_t lane = 0; lane < kLanes; ++lane) {
      const std::uint64_t product0 = kMultiplier0 * (a[lane] & kLow), product1 = kMultiplier1 * (c[lane] & kLow);
      a[lane] = (product1 >> 32) ^ b[lane] ^ key[0];
      b[lane] = product1 & kLow;
      c[lane] = (product0 >> 32) ^ d[lane] ^ key[1];
      d[lane] = product0 & kLow;
    }
    key[0] += kWeyl0;
    key[1] += kWeyl1;
  }
  for (std::uint32_t lane = 0; lane < kLanes; ++lane) {
    out[4 * lane] = static_cast<std::uint32_t>(a[lane]);
    out[4 * lane + 1] = static_cast<std::uint32_t>(b[lane]);
    out[4 * lane + 2] = static_cast<std::uint32_t>(c[lane]);
    out[4 * lane + 3] = static_cast<std::uint32_t>(d[lane]);
  }
}

}  // namespace

PhiloxCounter philox4x32(PhiloxCounter counter, PhiloxKey key) noexcept {
  for (int round = 0; round < kRounds; ++round) {
    const std::uint64_t product0 = std::uint64_t{kMultiplier0} * counter[0];
    const std::uint64_t product1 = std::uint64_t{kMultiplier1} * counter[2];
    counter = {static_cast<std::uint32_t>(product1 >> 32) ^ counter[1] ^ key[0], static_cast<std::uint32_t>(product1),
               static_cast<std::uint32_t>(product0 >> 32) ^ counter[3] ^ key[1], static_cast<std::uint32_t>(product0)};
    key[0] += kWeyl0;
    key[1] += kWeyl1;
  }
  return counter;
}

PhiloxStream::PhiloxStream(const RandomAddress& address) : key_(key_of(address)), counter_(counter_of(address)) {}

std::uint32_t PhiloxStream::next_word() noexcept {
  if (used_ == 4) {
    block_ = philox4x32(counter_, key_);
    ++counter_[0];
    used_ = 0;
  }
  return block_[used_++];
}

double PhiloxStream::uniform() noexcept {
  const std::uint64_t high = next_word() >> 5;  // 27 bits
  const std::uint64_t low = next_word() >> 6;   // 26 bits
  return static_cast<double>((high << 26) | low) * 0x1p-53;
}

double PhiloxStream::uniform(double low, double high) noexcept { return low + (high - low) * uniform(); }

std::uint32_t PhiloxStream::below(std::uint32_t bound) noexcept {
  std::uint64_t product = std::uint64_t{next_word()} * bound;
  if (static_cast<std::uint32_t>(product) < bound) {
    const std::uint32_t threshold = (0u - bound) % bound;
    while (static_cast<std::uint32_t>(product) < threshold) {
      product = std::uint64_t{next_word()} * bound;
    }
  }
  return static_cast<std::uint32_t>(product >> 32);
}

double PhiloxStream::normal() noexcept {
  if (has_spare_normal_) {
    has_spare_normal_ = false;
    return spare_normal_;
  }
  const double radius = std::sqrt(-2.0 * std::log(1.0 - uniform()));
  const double angle = 2.0 * std::numbers::pi * uniform();
  spare_normal_ = radius * std::sin(angle);
  has_spare_normal_ = true;
  return radius * std::cos(angle);
}

double PhiloxStream::gamma(double shape) noexcept {
  if (shape < 1.0) {
    const double boost = std::pow(1.0 - uniform(), 1.0 / shape);
    return gamma(shape + 1.0) * boost;
  }
  const double d = shape - 1.0 / 3.0;
  const double c = 1.0 / std::sqrt(9.0 * d);
  for (;;) {
    const double x = normal();
    const double base = 1.0 + c * x;
    if (base <= 0.0) {
      continue;
    }
    const double v = base * base * base;
    if (std::log(1.0 - uniform()) < 0.5 * x * x + d - d * v + d * std::log(v)) {
      return d * v;
    }
  }
}

double PhiloxStream::beta(double a, double b) noexcept {
  const double x = gamma(a);
  const double y = gamma(b);
  return x + y > 0.0 ? x / (x + y) : 0.5;
}

void fill_words(const RandomAddress& address, std::uint32_t first_block, std::span<std::uint32_t> words) {
  PhiloxCounter counter = counter_of(address);
  std::uint32_t lanes[4 * kLanes];
  for (std::size_t done = 0; done < words.size(); done += 4 * kLanes, first_block += kLanes) {
    counter[0] = first_block;
    const bool is_whole = words.size() - done >= 4 * kLanes;
    fill_blocks(counter, key_of(address), is_whole ? &words[done] : lanes);
    if (!is_whole) {
      std::copy(lanes, lanes + (words.size() - done), words.begin() + static_cast<std::ptrdiff_t>(done));
    }
  }
}

}  // namespace maskedkd
