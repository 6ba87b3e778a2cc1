// Mutates JPEG and PNG files so that many results still have a valid structure: makes a few small changes to a seed,
// some of which move whole segments or chunks between files. Of libFuzzer's own mutations 98 in 100 are refused, as its
// corpus fills with files that the structure check refuses in different places.
#pragma once

#include "maskedkd/io/digest.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <span>
#include <vector>

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* bytes, std::size_t size, std::size_t most);

namespace maskedkd::fuzz {

using Bytes = std::vector<std::uint8_t>;

inline bool is_png_file(std::span<const std::uint8_t> bytes) { return !bytes.empty() && bytes[0] == 0x89; }

inline std::size_t number_at(std::span<const std::uint8_t> bytes, std::size_t at) {
  return std::size_t{bytes[at]} << 24 | std::size_t{bytes[at + 1]} << 16 | std::size_t{bytes[at + 2]} << 8 |
         bytes[at + 3];
}

// The offsets of a PNG's chunks, as far as their lengths are valid, and the end of the last one.
inline std::vector<std::size_t> chunks_of(std::span<const std::uint8_t> bytes) {
  constexpr std::size_t kSignature = 8, kFrame = 12;
  std::vector<std::size_t> begins{kSignature};
  for (std::size_t at = kSignature; at + kFrame <= bytes.size();) {
    const std::size_t length = number_at(bytes, at);
    if (length > bytes.size() - at - kFrame) {
      break;
    }
    at += kFrame + length;
    begins.push_back(at);
  }
  return begins;
}

// The offsets of a JPEG's markers, including those within compressed data (restarts).
inline std::vector<std::size_t> markers_of(std::span<const std::uint8_t> bytes) {
  std::vector<std::size_t> markers;
  for (std::size_t at = 2; at + 1 < bytes.size(); ++at) {
    if (bytes[at] == 0xFF && bytes[at + 1] != 0 && bytes[at + 1] != 0xFF) {
      markers.push_back(at);
    }
  }
  return markers;
}

template <typename Container>
auto position(Container& bytes, std::size_t at) {
  return bytes.begin() + static_cast<std::ptrdiff_t>(at);
}

inline void mend_checksums(Bytes& bytes) {
  const std::vector<std::size_t> begins = chunks_of(bytes);
  for (std::size_t i = 0; i + 1 < begins.size(); ++i) {
    const std::size_t end = begins[i + 1] - 4;
    const std::uint32_t sum = crc32_of({bytes.data() + begins[i] + 4, end - begins[i] - 4});
    for (std::size_t k = 0; k < 4; ++k) {
      bytes[end + k] = static_cast<std::uint8_t>(sum >> (24 - 8 * k));
    }
  }
}

class ImageMutator {
 public:
  explicit ImageMutator(const std::filesystem::path& folder) {
    std::vector<std::filesystem::path> paths;
    for (const auto& entry : std::filesystem::directory_iterator(folder)) {
      paths.push_back(entry.path());
    }
    std::sort(paths.begin(), paths.end());
    for (const std::filesystem::path& path : paths) {
      std::ifstream file(path, std::ios::binary);
      seeds_.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
    }
  }

  // Mutates a seed in 7 of 8 cases, else `bytes`. The result has no more than `most` bytes.
  Bytes mutated(Bytes bytes, std::size_t most, unsigned chance) {
    random_.seed(chance);
    if (below(8) != 0) {
      bytes = any_seed();
    }
    for (std::size_t change = 1 + below(4); change > 0; --change) {
      change_somewhere(bytes, most);
    }
    bytes.resize(std::min(bytes.size(), most));
    if (is_png_file(bytes) && below(8) != 0) {
      mend_checksums(bytes);
    }
    return bytes;
  }

 private:
  std::size_t below(std::size_t bound) { return static_cast<std::size_t>(random_() >> 4) % bound; }
  std::uint8_t any_byte() { return static_cast<std::uint8_t>(below(256)); }
  const Bytes& any_seed() { return seeds_[below(seeds_.size())]; }

  void change_somewhere(Bytes& bytes, std::size_t most) {
    if (bytes.size() < 16) {
      bytes = any_seed();
    }
    const std::size_t at = below(bytes.size());
    switch (below(8)) {
      case 0:
        bytes[at] ^= static_cast<std::uint8_t>(1U << below(8));
        break;
      case 1:
        bytes[at] = any_byte();
        break;
      case 2: {
        constexpr std::uint8_t kOften[] = {0, 1, 0x11, 0x22, 0x7F, 0x80, 0xFF};
        bytes[at] = kOften[below(std::size(kOften))];
        break;
      }
      case 3:
        bytes.erase(position(bytes, at), position(bytes, std::min(bytes.size(), at + 1 + below(4))));
        break;
      case 4:
        bytes.insert(position(bytes, at), 1 + below(4), any_byte());
        break;
      case 5: {  // a short piece of another file, or of this one
        const Bytes& source = below(2) == 0 ? any_seed() : bytes;
        const std::size_t begin = below(source.size()), count = std::min(source.size() - begin, 1 + below(64));
        const Bytes piece(position(source, begin), position(source, begin + count));
        bytes.insert(position(bytes, at), piece.begin(), piece.end());
        break;
      }
      case 6:
        move_segment(bytes);
        break;
      default: {
        bytes.resize(std::max(most, bytes.size()));
        bytes.resize(LLVMFuzzerMutate(bytes.data(), std::min(most, bytes.size()), most));
      }
    }
  }

  // Removes a segment or chunk, or inserts one of a file of the same format.
  void move_segment(Bytes& bytes) {
    const std::vector<std::size_t> places = segments(bytes);
    const Bytes& source = any_seed();
    const std::vector<std::size_t> others = segments(source);
    if (places.size() < 2 || others.size() < 2) {
      return;
    }
    const std::size_t at = below(places.size() - 1);
    if (below(3) == 0) {
      bytes.erase(position(bytes, places[at]), position(bytes, places[at + 1]));
    } else if (is_png_file(bytes) == is_png_file(source)) {
      const std::size_t from = below(others.size() - 1);
      bytes.insert(position(bytes, places[at]), position(source, others[from]), position(source, others[from + 1]));
    }
  }

  static std::vector<std::size_t> segments(const Bytes& bytes) {
    return is_png_file(bytes) ? chunks_of(bytes) : markers_of(bytes);
  }

  std::vector<Bytes> seeds_;
  std::minstd_rand random_;
};

}  // namespace maskedkd::fuzz
