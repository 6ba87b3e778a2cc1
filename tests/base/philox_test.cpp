// Compares the generator with Random123's published vectors, and shows that streams of different addresses differ.
#include "maskedkd/base/philox.hpp"

#include "maskedkd/base/error.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <random>
#include <set>
#include <vector>

namespace maskedkd {
namespace {

// The lines "philox4x32 10" of Random123's kat_vectors: counter, key, result.
TEST(Philox, GivesThePublishedAnswers) {
  EXPECT_EQ(philox4x32({0, 0, 0, 0}, {0, 0}), (PhiloxCounter{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  constexpr std::uint32_t ones = 0xffffffff;
  EXPECT_EQ(philox4x32({ones, ones, ones, ones}, {ones, ones}),
            (PhiloxCounter{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (PhiloxCounter{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

// The stream of the all-zero address begins with the published block of the all-zero counter.
TEST(PhiloxStream, StartsAtThePublishedBlockAndContinuesWithTheNext) {
  PhiloxStream stream(RandomAddress{});
  for (const std::uint32_t word : {0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u}) {
    EXPECT_EQ(stream.next_word(), word);
  }
  for (const std::uint32_t word : philox4x32({1, 0, 0, 0}, {0, 0})) {
    EXPECT_EQ(stream.next_word(), word);
  }
}

std::vector<std::uint32_t> first_words(const RandomAddress& address, int count) {
  PhiloxStream stream(address);
  std::vector<std::uint32_t> words;
  for (int i = 0; i < count; ++i) {
    words.push_back(stream.next_word());
  }
  return words;
}

TEST(PhiloxStream, TheSameAddressGivesTheSameNumbers) {
  const RandomAddress address{77, RandomPurpose::mixing, 3, 1250, 7, 127};
  EXPECT_EQ(first_words(address, 100), first_words(address, 100));
  PhiloxStream stream(address);
  stream.normal();  // keeps a second value, which a copy must have too
  PhiloxStream copy = stream;
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(stream.normal(), copy.normal());
    EXPECT_EQ(stream.gamma(0.8), copy.gamma(0.8));
    EXPECT_EQ(stream.below(1000), copy.below(1000));
  }
}

TEST(PhiloxStream, NoTwoAddressesShareNumbers) {
  std::vector<RandomAddress> addresses;
  for (int purpose = 0; purpose <= static_cast<int>(RandomPurpose::drop_path); ++purpose) {
    const RandomAddress base{0, static_cast<RandomPurpose>(purpose), 0, 0, 0, 0};
    addresses.push_back(base);
    for (int bit = 0; bit < 64; ++bit) {
      RandomAddress one = base;
      one.seed = std::uint64_t{1} << bit;
      addresses.push_back(one);
    }
    for (int bit = 0; bit < 32; ++bit) {
      RandomAddress one = base;
      one.step = 1u << bit;
      addresses.push_back(one);
      if (bit < 24) {
        one = base;
        one.epoch = 1u << bit;
        addresses.push_back(one);
      }
      if (bit < 16) {
        one = base;
        one.micro_batch = 1u << bit;
        addresses.push_back(one);
        one = base;
        one.position = 1u << bit;
        addresses.push_back(one);
      }
    }
    addresses.push_back({~std::uint64_t{0}, base.purpose, (1u << 24) - 1, ~0u, 65535, 65535});
  }
  std::set<std::vector<std::uint32_t>> blocks;
  for (const RandomAddress& address : addresses) {
    // Within 64 blocks too: no stream is a shifted copy of another.
    const auto words = first_words(address, 256);
    for (std::size_t i = 0; i < words.size(); i += 4) {
      blocks.insert(
          {words.begin() + static_cast<std::ptrdiff_t>(i), words.begin() + static_cast<std::ptrdiff_t>(i) + 4});
    }
  }
  EXPECT_EQ(blocks.size(), addresses.size() * 64);
}

// Words of addresses that differ by 1 in one field agree in half of their bits: mean 1/2 of n bits, deviation
// sqrt(n)/2; 5 sigma.
TEST(PhiloxStream, NeighbouringAddressesAreUncorrelated) {
  std::mt19937_64 random(4);
  const auto disagreement = [&](auto&& change) {
    double bits = 0;
    constexpr int kPairs = 500, kWords = 40;
    for (int pair = 0; pair < kPairs; ++pair) {
      RandomAddress one{random(),
                        RandomPurpose::augmentation,
                        static_cast<std::uint32_t>(random() % 300),
                        static_cast<std::uint32_t>(random() % 1251),
                        static_cast<std::uint32_t>(random() % 8),
                        static_cast<std::uint32_t>(random() % 128)};
      RandomAddress other = one;
      change(other);
      const auto a = first_words(one, kWords), b = first_words(other, kWords);
      for (int i = 0; i < kWords; ++i) {
        bits += std::popcount(a[static_cast<std::size_t>(i)] ^ b[static_cast<std::size_t>(i)]);
      }
    }
    const double n = 32.0 * kPairs * kWords;
    return (bits - n / 2) / (std::sqrt(n) / 2);
  };
  EXPECT_LT(std::abs(disagreement([](RandomAddress& a) { ++a.seed; })), 5);
  EXPECT_LT(std::abs(disagreement([](RandomAddress& a) { a.purpose = RandomPurpose::mixing; })), 5);
  EXPECT_LT(std::abs(disagreement([](RandomAddress& a) { ++a.epoch; })), 5);
  EXPECT_LT(std::abs(disagreement([](RandomAddress& a) { ++a.step; })), 5);
  EXPECT_LT(std::abs(disagreement([](RandomAddress& a) { ++a.micro_batch; })), 5);
  EXPECT_LT(std::abs(disagreement([](RandomAddress& a) { ++a.position; })), 5);
}

TEST(PhiloxStream, IsTheBlocksFromTheCounterOfItsAddressOn) {
  const RandomAddress address{~std::uint64_t{0} / 3, RandomPurpose::erasing_noise, 70000, ~0u, 300, 65535};
  PhiloxStream stream(address);
  PhiloxCounter counter = philox_counter(address);
  for (; counter[0] < 100; ++counter[0]) {
    for (const std::uint32_t word : philox4x32(counter, philox_key(address))) {
      EXPECT_EQ(stream.next_word(), word) << counter[0];
    }
  }
}

TEST(PhiloxStream, AddressesPastTheLimitsAreRefused) {
  const auto code = [](const RandomAddress& address) {
    try {
      PhiloxStream stream(address);
      return ExitCode::finished;
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find("past its limits"), std::string::npos);
      return error.code();
    }
  };
  const auto purpose = RandomPurpose::augmentation;
  EXPECT_EQ(code({~std::uint64_t{0}, purpose, (1u << 24) - 1, ~0u, 65535, 65535}), ExitCode::finished);
  EXPECT_EQ(code({0, purpose, 1u << 24, 0, 0, 0}), ExitCode::usage);
  EXPECT_EQ(code({0, purpose, ~0u, 0, 0, 0}), ExitCode::usage);
  EXPECT_EQ(code({0, purpose, 0, 0, 65536, 0}), ExitCode::usage);
  EXPECT_EQ(code({0, purpose, 0, 0, 0, 65536}), ExitCode::usage);
}

}  // namespace
}  // namespace maskedkd
