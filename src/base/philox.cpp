#include "maskedkd/base/philox.hpp"

#include "maskedkd/base/error.hpp"
#include "maskedkd/base/philox_rounds.hpp"

#include <cmath>
#include <numbers>

namespace maskedkd {

PhiloxCounter philox4x32(PhiloxCounter counter, PhiloxKey key) noexcept {
  philox_rounds(counter.data(), key[0], key[1]);
  return counter;
}

PhiloxKey philox_key(const RandomAddress& address) noexcept {
  return {static_cast<std::uint32_t>(address.seed), static_cast<std::uint32_t>(address.seed >> 32)};
}

PhiloxCounter philox_counter(const RandomAddress& address) {
  if (address.epoch >= (1u << 24) || address.micro_batch >= (1u << 16) || address.position >= (1u << 16)) {
    throw usage_error(fmt::format("random address past its limits: epoch {}, micro-batch {}, position {}",
                                  address.epoch, address.micro_batch, address.position),
                      "at most 16,777,216 epochs, 65,536 micro-batches a step and 65,536 images a micro-batch");
  }
  return {0, (address.micro_batch << 16) | address.position, address.step,
          (address.epoch << 8) | static_cast<std::uint32_t>(address.purpose)};
}

PhiloxStream::PhiloxStream(const RandomAddress& address)
    : key_(philox_key(address)), counter_(philox_counter(address)) {}

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

}  // namespace maskedkd
