// Markers and segments are those of ITU-T T.81, annex B. Beyond the structure this checks everything that would be an
// error in a stage of libjpeg's decoder, so that libjpeg decodes every file that is `certain`: about damage within the
// compressed data, which only decoding can find, it warns and continues.
#include "file_parts.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <numeric>
#include <string_view>

namespace maskedkd {
namespace {

enum Marker : std::uint8_t {
  kTem = 0x01,
  kFirstFrame = 0xC0,
  kLastFrame = 0xCF,
  kHuffmanTables = 0xC4,
  kExtension = 0xC8,
  kArithmeticTables = 0xCC,
  kFirstRestart = 0xD0,
  kLastRestart = 0xD7,
  kStart = 0xD8,
  kEnd = 0xD9,
  kScan = 0xDA,
  kQuantisationTables = 0xDB,
  kLineCount = 0xDC,
  kRestartInterval = 0xDD,
  kApplication0 = 0xE0,
  kApplication1 = 0xE1,
  kApplication15 = 0xEF,
  kComment = 0xFE,
};

constexpr std::uint32_t kLargestSide = 65500;  // the limit of libjpeg

[[noreturn]] void refuse(const char* why) { throw usage_error(fmt::format("not a valid JPEG file: {}", why)); }

class JpegWalk {
 public:
  explicit JpegWalk(std::span<const std::uint8_t> bytes) : bytes_(bytes) {}

  ImageFileFacts run() {
    facts_.format = ImageFileFacts::Format::jpeg;
    facts_.certain = true;
    at_ = 2;
    for (std::uint8_t marker = next_marker(); marker != kEnd; marker = next_marker()) {
      segment(marker);
    }
    if (num_scans_ == 0) {
      refuse("it contains no image");
    }
    for (int i = 0; i < num_components_; ++i) {
      doubt_unless(components_[i].is_scanned);
    }
    return facts_;
  }

 private:
  struct Component {
    std::uint8_t id = 0, table = 0;
    int num_blocks = 0;  // in a minimum coded unit of a scan of several components
    bool is_scanned = false;
  };

  void doubt_unless(bool usual) { facts_.certain = facts_.certain && usual; }

  // The marker follows one or more bytes FF; bytes before the first FF are stray.
  std::uint8_t next_marker() {
    const auto* from = bytes_.data() + at_;
    const std::size_t left = bytes_.size() - at_;
    const auto* found = left > 0 ? static_cast<const std::uint8_t*>(std::memchr(from, 0xFF, left)) : nullptr;
    if (found == nullptr) {
      refuse("it ends without an end marker");
    }
    doubt_unless(found == from);
    at_ += found - from;
    while (at_ < bytes_.size() && bytes_[at_] == 0xFF) {
      ++at_;
    }
    if (at_ == bytes_.size()) {
      refuse("it ends without an end marker");
    }
    return bytes_[at_++];
  }

  void segment(std::uint8_t marker) {
    const bool stands_alone =
        marker == 0 || marker == kTem || marker == kStart || (marker >= kFirstRestart && marker <= kLastRestart);
    if (stands_alone) {
      facts_.certain = false;
      return;
    }
    if (bytes_.size() - at_ < 2) {
      refuse("it ends within a segment");
    }
    const std::size_t length = big16(bytes_, at_);
    if (length < 2) {  // the length includes its two bytes
      facts_.certain = false;
      at_ += 2;
      return;
    }
    if (length > bytes_.size() - at_) {
      refuse("it ends within a segment");
    }
    const auto content = bytes_.subspan(at_ + 2, length - 2);
    at_ += length;
    if (marker == kHuffmanTables) {
      huffman_tables(content);
    } else if (marker >= kFirstFrame && marker <= kLastFrame && marker != kExtension && marker != kArithmeticTables) {
      frame(marker, content);
    } else if (marker == kScan) {
      scan(content);
    } else if (marker == kQuantisationTables) {
      quantisation_tables(content);
    } else if (marker == kRestartInterval) {
      doubt_unless(content.size() == 2);
      restarts_ = content.size() == 2 && big16(content, 0) > 0;
    } else if (marker == kApplication1) {
      constexpr std::string_view kExif("Exif\0\0", 6);
      if (content.size() > kExif.size() && std::memcmp(content.data(), kExif.data(), kExif.size()) == 0) {
        facts_.orientation = exif_orientation(content.subspan(kExif.size()));
      }
    } else {
      doubt_unless(marker == kComment || (marker >= kApplication0 && marker <= kApplication15));
    }
  }

  void frame(std::uint8_t kind, std::span<const std::uint8_t> content) {
    if (num_components_ > 0 || content.size() < 6) {
      refuse("its frame header is damaged");
    }
    const std::uint32_t height = big16(content, 1), width = big16(content, 3);
    refuse_size(height, width);
    num_components_ = content[5];
    if (num_components_ == 0 || num_components_ > static_cast<int>(components_.size()) ||
        content.size() != 6 + std::size_t{3} * num_components_) {
      refuse("its frame header is damaged");
    }
    facts_.bits = content[0];
    facts_.progressive = kind == kFirstFrame + 2;
    facts_.four_inks = num_components_ == 4;
    facts_.shape = {static_cast<std::int32_t>(height), static_cast<std::int32_t>(width), num_components_ == 1 ? 1 : 3};
    doubt_unless(kind <= kFirstFrame + 2 && facts_.bits == 8 && num_components_ != 2 && height <= kLargestSide &&
                 width <= kLargestSide);
    int most_across = 1, most_down = 1;
    for (int i = 0; i < num_components_; ++i) {
      const auto part = content.subspan(6 + std::size_t{3} * i, 3);
      const int across = part[1] >> 4, down = part[1] & 15;
      doubt_unless(across >= 1 && across <= 4 && down >= 1 && down <= 4 && part[2] < 4);
      for (int other = 0; other < i; ++other) {
        doubt_unless(components_[other].id != part[0]);
      }
      components_[i] = {part[0], part[2], across * down, false};
      most_across = std::max(most_across, across);
      most_down = std::max(most_down, down);
    }
    // libjpeg enlarges components only by whole numbers.
    for (int i = 0; i < num_components_ && facts_.certain; ++i) {
      const std::uint8_t factors = content[7 + std::size_t{3} * i];
      doubt_unless(most_across % (factors >> 4) == 0 && most_down % (factors & 15) == 0);
    }
  }

  void scan(std::span<const std::uint8_t> content) {
    const std::size_t count = content.empty() ? 0 : content[0];
    if (num_components_ == 0 || count < 1 || count > 4 || content.size() != 4 + 2 * count) {
      refuse("a scan's header is damaged");
    }
    ++num_scans_;
    const std::uint8_t first = content[1 + 2 * count], last = content[2 + 2 * count], bits = content[3 + 2 * count];
    const bool first_bits = bits >> 4 == 0;  // it is the first scan of these coefficients
    const bool needs_dc = facts_.progressive ? first == 0 && first_bits : true;
    const bool needs_ac = facts_.progressive ? first > 0 : true;
    int num_blocks = 0, previous = -1;
    for (std::size_t i = 0; i < count; ++i) {
      const std::uint8_t id = content[1 + 2 * i], tables = content[2 + 2 * i];
      bool known = false;
      for (int k = 0; k < num_components_; ++k) {
        if (components_[k].id == id) {
          known = true;
          doubt_unless(k > previous);  // the order must be that of the frame
          previous = k;
          doubt_unless(has_quantisation_[components_[k].table & 3]);
          doubt_unless(facts_.progressive || !components_[k].is_scanned);
          components_[k].is_scanned = true;
          num_blocks += components_[k].num_blocks;
        }
      }
      doubt_unless(known && (tables >> 4) < 4 && (tables & 15) < 4);
      doubt_unless(!needs_dc || has_huffman_[tables >> 4 & 3]);
      doubt_unless(!needs_ac || has_huffman_[4 + (tables & 3)]);
      for (std::size_t other = 0; other < i; ++other) {
        doubt_unless(content[1 + 2 * other] != id);
      }
    }
    constexpr int kMostBlocks = 10;
    doubt_unless(count == 1 || num_blocks <= kMostBlocks);
    doubt_unless(facts_.progressive ? is_progression(count, first, last, bits) : first == 0 && last == 63 && bits == 0);
    skip_compressed_data();
  }

  // Whether libjpeg accepts these parameters of a progressive scan: it has DC coefficients, or AC coefficients of one
  // component; after the first scan of a coefficient, each scan adds one bit.
  static bool is_progression(std::size_t count, int first, int last, int bits) {
    const int before = bits >> 4, now = bits & 15;
    return (first == 0 ? last == 0 : first <= last && last < 64 && count == 1) && now <= 13 &&
           (before == 0 || now == before - 1);
  }

  // Advances to the first marker other than FF 00 (a byte FF of data) and restarts, which must be numbered in turn.
  void skip_compressed_data() {
    const std::uint8_t* const end = bytes_.data() + bytes_.size();
    const std::uint8_t* at = bytes_.data() + at_;
    const std::uint8_t* const begin = at;
    std::uint8_t restart = kFirstRestart;
    for (;;) {
      at = static_cast<const std::uint8_t*>(at < end ? std::memchr(at, 0xFF, end - at) : nullptr);
      if (at == nullptr || at + 1 == end) {
        refuse("it ends within a scan");
      }
      const std::uint8_t next = at[1];
      if (next == 0) {
        at += 2;
      } else if (next >= kFirstRestart && next <= kLastRestart) {
        doubt_unless(restarts_ && next == restart);
        restart = static_cast<std::uint8_t>(kFirstRestart + (restart - kFirstRestart + 1) % 8);
        at += 2;
      } else if (next == 0xFF) {
        ++at;
      } else {
        break;
      }
    }
    doubt_unless(at > begin);
    at_ = at - bytes_.data();
  }

  void huffman_tables(std::span<const std::uint8_t> content) {
    constexpr std::size_t kLengths = 16;
    while (content.size() > kLengths) {
      const std::uint8_t index = content[0];
      const std::size_t count = std::accumulate(content.begin() + 1, content.begin() + 1 + kLengths, std::size_t{0});
      const bool good = (index & 15) < 4 && index < 32 && count <= 256 && count <= content.size() - 1 - kLengths;
      doubt_unless(good);
      if (!good) {
        return;
      }
      has_huffman_[(index >> 4) * 4 + (index & 15)] =
          is_huffman_table(content.subspan(1, kLengths), content.subspan(1 + kLengths, count), index < 16);
      content = content.subspan(1 + kLengths + count);
    }
    doubt_unless(content.empty());
  }

  // Whether libjpeg can use the table: the codes of each length fit in their bits, none is all ones, and DC symbols are
  // at most 15. Required only of tables that a scan uses.
  static bool is_huffman_table(std::span<const std::uint8_t> counts, std::span<const std::uint8_t> symbols,
                               bool is_dc) {
    std::size_t code = 0, left = symbols.size();
    for (std::size_t length = 1; length <= counts.size() && left > 0; ++length) {
      code = 2 * code + counts[length - 1];
      left -= counts[length - 1];
      if (code >= std::size_t{1} << length) {
        return false;
      }
    }
    constexpr std::uint8_t kMostBits = 15;
    return !is_dc || std::all_of(symbols.begin(), symbols.end(), [](std::uint8_t bits) { return bits <= kMostBits; });
  }

  void quantisation_tables(std::span<const std::uint8_t> content) {
    while (!content.empty()) {
      const std::size_t length = 1 + (content[0] >> 4 != 0 ? std::size_t{128} : 64);
      const bool good = (content[0] & 15) < 4 && content[0] < 32 && length <= content.size();
      doubt_unless(good);
      if (!good) {
        return;
      }
      has_quantisation_[content[0] & 3] = true;
      content = content.subspan(length);
    }
  }

  std::span<const std::uint8_t> bytes_;
  std::size_t at_ = 0;
  ImageFileFacts facts_;
  std::array<Component, 4> components_;
  int num_components_ = 0;
  int num_scans_ = 0;
  bool restarts_ = false;
  std::array<bool, 4> has_quantisation_{};
  std::array<bool, 8> has_huffman_{};  // 4 for DC, 4 for AC: whether the last table of this number is usable
};

}  // namespace

ImageFileFacts check_jpeg(std::span<const std::uint8_t> bytes) { return JpegWalk(bytes).run(); }

}  // namespace maskedkd
