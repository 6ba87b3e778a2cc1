// The two passes of resample.cpp with the vector instructions of x86. Both are an inner product for many lanes at once:
// the sum of weight times byte over a window of positions. Four neighbouring positions of a lane are stored in one
// 32-bit word, a quad; a window begins at the quad that contains its first position, and its weights are padded with
// zeros at both ends. Horizontal pass: the lanes are 16 rows times RGB, the positions are columns. Vertical pass: the
// lanes are the columns times RGB of the output, the positions are rows; the first pass already gives quads of 4 rows.
//
// A weight has up to 24 bits and is split into signed digits: three of 8 bits (AVX-512 VNNI multiplies four bytes by
// four of them and adds the products), or two of 16 bits (AVX2 multiplies and adds pairs). Integer sums are exact in
// any order, so that the bits are those of the portable implementation.
#include "resample_path.hpp"

#include <algorithm>
#include <cstring>
#include <memory>

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))

// GCC 12 warns of variables that its own header leaves uninitialised on purpose (GCC bug 105593).
#if !defined(__clang__)
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>

#define MASKEDKD_AVX2 __attribute__((target("avx2")))
#define MASKEDKD_AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni")))

namespace maskedkd {
namespace {

constexpr int kStripRows = 16;
constexpr int kStripLanes = kStripRows * 3;  // of a block
constexpr int kStripsAtOnce = 4;             // limits the memory for a large image
constexpr std::size_t kQuadBytes = 4;
constexpr std::size_t kLoadBytes = 16;  // read at a time for the 12 bytes of four RGB pixels

using Bytes = std::unique_ptr<std::uint8_t[]>;  // not initialised
Bytes make_bytes(std::size_t count) { return std::make_unique_for_overwrite<std::uint8_t[]>(count); }

// The layouts of the weights of one quad: their digits, the lowest first, as words of 32 bits.
struct DigitsOf8 {
  static constexpr int kWords = 3;  // of 32 bits
  static void put(std::uint32_t* words, int position, std::int32_t weight) {
    auto* digits = reinterpret_cast<std::int8_t*>(words) + position;
    for (int digit = 0; digit < kWords; ++digit) {
      const auto low = static_cast<std::int8_t>(weight);
      digits[4 * digit] = low;
      weight = (weight - low) >> 8;
    }
  }
};
// The lower and the upper halves of positions 0 and 2, then of 1 and 3: the order in which masks and shifts extract the
// bytes of a quad.
struct DigitsOf16 {
  static constexpr int kWords = 4;
  static void put(std::uint32_t* words, int position, std::int32_t weight) {
    std::uint8_t* digits = reinterpret_cast<std::uint8_t*>(words) + 8 * (position % 2) + 2 * (position / 2);
    const auto low = static_cast<std::int16_t>(weight), high = static_cast<std::int16_t>((weight - low) >> 16);
    std::memcpy(digits, &low, sizeof(low));
    std::memcpy(digits + 4, &high, sizeof(high));
  }
};

struct QuadWindow {
  int first_quad;
  int num_quads;
};

struct QuadWeights {
  std::vector<QuadWindow> windows;
  std::vector<std::uint32_t> words;  // [output, stride]
  std::size_t stride = 0;
};

template <typename Digits>
QuadWeights in_quads(const ResampleWeights& weights) {
  QuadWeights quads;
  const int count = static_cast<int>(weights.windows.size()), first = weights.first();
  quads.stride = static_cast<std::size_t>(weights.stride / 4 + 2) * Digits::kWords;
  quads.windows.resize(count);
  quads.words.assign(count * quads.stride, 0);
  for (int out = 0; out < count; ++out) {
    const int begin = weights.windows[out].begin - first, length = weights.windows[out].length;
    quads.windows[out] = {begin / 4, (begin + length + 3) / 4 - begin / 4};
    std::uint32_t* words = &quads.words[out * quads.stride];
    const std::int32_t* values = weights.of(out);
    for (int i = 0; i < length; ++i) {
      const int position = begin % 4 + i;
      Digits::put(words + position / 4 * Digits::kWords, position % 4, values[i]);
    }
  }
  return quads;
}

// out: 48 bytes of each block, from its 48 lanes; stride: bytes from one quad of a lane to the next.
using InnerProducts = void (*)(const std::uint8_t* quads, std::size_t stride, int num_quads, const std::uint32_t* words,
                               int num_blocks, std::uint8_t* out);

MASKEDKD_AVX512 inline void store_avx512(__m512i sum, std::uint8_t* out) {
  const __m512i value = _mm512_max_epi32(_mm512_srai_epi32(sum, kWeightBits), _mm512_setzero_si512());
  _mm_storeu_si128(reinterpret_cast<__m128i*>(out), _mm512_cvtusepi32_epi8(value));
}

// Horner's rule over the digits, highest first. kQuads: small enough that everything stays in registers.
template <int kQuads>
MASKEDKD_AVX512 void few_inner_products_avx512(const std::uint8_t* quads, std::size_t stride,
                                               const std::uint32_t* words, int num_blocks, std::uint8_t* out) {
  __m512i digits[kQuads][DigitsOf8::kWords];
  for (int quad = 0; quad < kQuads; ++quad) {
    for (int digit = 0; digit < DigitsOf8::kWords; ++digit) {
      digits[quad][digit] = _mm512_set1_epi32(static_cast<int>(words[quad * DigitsOf8::kWords + digit]));
    }
  }
  for (int vector = 0; vector < 3 * num_blocks; ++vector, quads += 64, out += 16) {
    __m512i bytes[kQuads];
    __m512i sum = _mm512_setzero_si512();
    for (int quad = 0; quad < kQuads; ++quad) {
      bytes[quad] = _mm512_loadu_si512(quads + quad * stride);
      sum = _mm512_dpbusd_epi32(sum, bytes[quad], digits[quad][2]);
    }
    sum = _mm512_slli_epi32(sum, 8);
    for (int quad = 0; quad < kQuads; ++quad) {
      sum = _mm512_dpbusd_epi32(sum, bytes[quad], digits[quad][1]);
    }
    sum = _mm512_add_epi32(_mm512_slli_epi32(sum, 8), _mm512_set1_epi32(kWeightHalf));
    for (int quad = 0; quad < kQuads; ++quad) {
      sum = _mm512_dpbusd_epi32(sum, bytes[quad], digits[quad][0]);
    }
    store_avx512(sum, out);
  }
}

MASKEDKD_AVX512 void many_inner_products_avx512(const std::uint8_t* quads, std::size_t stride, int num_quads,
                                                const std::uint32_t* words, int num_blocks, std::uint8_t* out) {
  for (int vector = 0; vector < 3 * num_blocks; ++vector, quads += 64, out += 16) {
    __m512i low = _mm512_set1_epi32(kWeightHalf), middle = _mm512_setzero_si512(), high = _mm512_setzero_si512();
    const std::uint32_t* word = words;
    const std::uint8_t* from = quads;
    for (int quad = 0; quad < num_quads; ++quad, from += stride, word += DigitsOf8::kWords) {
      const __m512i bytes = _mm512_loadu_si512(from);
      low = _mm512_dpbusd_epi32(low, bytes, _mm512_set1_epi32(static_cast<int>(word[0])));
      middle = _mm512_dpbusd_epi32(middle, bytes, _mm512_set1_epi32(static_cast<int>(word[1])));
      high = _mm512_dpbusd_epi32(high, bytes, _mm512_set1_epi32(static_cast<int>(word[2])));
    }
    const __m512i upper = _mm512_add_epi32(_mm512_slli_epi32(high, 8), middle);
    store_avx512(_mm512_add_epi32(_mm512_slli_epi32(upper, 8), low), out);
  }
}

void inner_products_avx512(const std::uint8_t* quads, std::size_t stride, int num_quads, const std::uint32_t* words,
                           int num_blocks, std::uint8_t* out) {
  switch (num_quads) {
    case 1:
      return few_inner_products_avx512<1>(quads, stride, words, num_blocks, out);
    case 2:
      return few_inner_products_avx512<2>(quads, stride, words, num_blocks, out);
    case 3:
      return few_inner_products_avx512<3>(quads, stride, words, num_blocks, out);
    case 4:
      return few_inner_products_avx512<4>(quads, stride, words, num_blocks, out);
    default:
      return many_inner_products_avx512(quads, stride, num_quads, words, num_blocks, out);
  }
}

MASKEDKD_AVX2 void inner_products_avx2(const std::uint8_t* quads, std::size_t stride, int num_quads,
                                       const std::uint32_t* words, int num_blocks, std::uint8_t* out) {
  const __m256i even_bytes = _mm256_set1_epi32(0x00FF00FF);
  for (int half = 0; half < 2 * num_blocks; ++half, quads += 96, out += 24) {
    __m256i low[3], high[3];
    for (int v = 0; v < 3; ++v) {
      low[v] = _mm256_set1_epi32(kWeightHalf);
      high[v] = _mm256_setzero_si256();
    }
    const std::uint32_t* word = words;
    const std::uint8_t* from = quads;
    for (int quad = 0; quad < num_quads; ++quad, from += stride, word += DigitsOf16::kWords) {
      const __m256i even_low = _mm256_set1_epi32(static_cast<int>(word[0]));
      const __m256i even_high = _mm256_set1_epi32(static_cast<int>(word[1]));
      const __m256i odd_low = _mm256_set1_epi32(static_cast<int>(word[2]));
      const __m256i odd_high = _mm256_set1_epi32(static_cast<int>(word[3]));
      for (int v = 0; v < 3; ++v) {
        const __m256i bytes = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from + 32 * v));
        const __m256i even = _mm256_and_si256(bytes, even_bytes), odd = _mm256_srli_epi16(bytes, 8);
        low[v] = _mm256_add_epi32(low[v],
                                  _mm256_add_epi32(_mm256_madd_epi16(even, even_low), _mm256_madd_epi16(odd, odd_low)));
        high[v] = _mm256_add_epi32(
            high[v], _mm256_add_epi32(_mm256_madd_epi16(even, even_high), _mm256_madd_epi16(odd, odd_high)));
      }
    }
    __m256i sums[3];
    for (int v = 0; v < 3; ++v) {
      sums[v] = _mm256_srai_epi32(_mm256_add_epi32(low[v], _mm256_slli_epi32(high[v], 16)), kWeightBits);
    }
    const __m256i packed =
        _mm256_packus_epi16(_mm256_packs_epi32(sums[0], sums[1]), _mm256_packs_epi32(sums[2], sums[2]));
    const __m256i in_order = _mm256_permutevar8x32_epi32(packed, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out), _mm256_castsi256_si128(in_order));
    _mm_storel_epi64(reinterpret_cast<__m128i*>(out + 16), _mm256_extracti128_si256(in_order, 1));
  }
}

MASKEDKD_AVX2 inline __m128i four_pixels(const std::uint8_t* from) {
  const __m128i planar = _mm_setr_epi8(0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11, -1, -1, -1, -1);
  return _mm_shuffle_epi8(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)), planar);
}

// 4 columns of 16 rows -> their quads [3, 16].
MASKEDKD_AVX2 inline void columns_to_quads(const std::uint8_t* const* rows, std::size_t offset, std::uint8_t* quads) {
  for (int row = 0; row < kStripRows; row += 4) {
    const __m128i a = four_pixels(rows[row] + offset), b = four_pixels(rows[row + 1] + offset);
    const __m128i c = four_pixels(rows[row + 2] + offset), d = four_pixels(rows[row + 3] + offset);
    const __m128i ab = _mm_unpacklo_epi32(a, b), cd = _mm_unpacklo_epi32(c, d);
    const __m128i blue_ab = _mm_unpackhi_epi32(a, b), blue_cd = _mm_unpackhi_epi32(c, d);
    auto* red = reinterpret_cast<__m128i*>(quads + row * kQuadBytes);
    _mm_storeu_si128(red, _mm_unpacklo_epi64(ab, cd));
    _mm_storeu_si128(red + kStripRows / 4, _mm_unpackhi_epi64(ab, cd));
    _mm_storeu_si128(red + 2 * (kStripRows / 4), _mm_unpacklo_epi64(blue_ab, blue_cd));
  }
}

// 16 rows of num_quads * 4 columns -> their quads [3, 16], each column_bytes after the previous one. Columns after the
// last one that is used contain whatever follows in memory, and have weight 0; nothing after `end` is read.
MASKEDKD_AVX2 void strip_to_quads(const std::uint8_t* const* rows, int num_quads, const std::uint8_t* end,
                                  std::uint8_t* quads, std::size_t column_bytes) {
  const std::ptrdiff_t num_spare_bytes = end - rows[kStripRows - 1] - static_cast<std::ptrdiff_t>(kLoadBytes);
  const int num_safe =
      num_spare_bytes < 0 ? 0 : static_cast<int>(std::min<std::ptrdiff_t>(num_quads, num_spare_bytes / 12 + 1));
  for (int quad = 0; quad < num_safe; ++quad) {
    columns_to_quads(rows, std::size_t{12} * quad, quads + quad * column_bytes);
  }
  for (int quad = num_safe; quad < num_quads; ++quad) {
    std::uint8_t copies[kStripRows][kLoadBytes] = {};
    const std::uint8_t* copied[kStripRows];
    for (int row = 0; row < kStripRows; ++row) {
      const std::uint8_t* from = rows[row] + std::size_t{12} * quad;
      std::memcpy(copies[row], from, std::min<std::size_t>(kLoadBytes, end - from));
      copied[row] = copies[row];
    }
    columns_to_quads(copied, 0, quads + quad * column_bytes);
  }
}

// num_pixels columns of [3, 16 rows] bytes, pixel_bytes apart -> four rows of quads, row_bytes apart. num_pixels: a
// multiple of 4.
MASKEDKD_AVX2 void columns_to_rows(const std::uint8_t* pixels, std::size_t pixel_bytes, int num_pixels,
                                   std::uint8_t* quads, std::size_t row_bytes) {
  const auto column = [&](int lane) { return pixels + lane / 3 * pixel_bytes + lane % 3 * kStripRows; };
  for (int lane = 0; lane < num_pixels * 3; lane += 4, quads += 4 * kQuadBytes) {
    const __m128i a = _mm_loadu_si128(reinterpret_cast<const __m128i*>(column(lane)));
    const __m128i b = _mm_loadu_si128(reinterpret_cast<const __m128i*>(column(lane + 1)));
    const __m128i c = _mm_loadu_si128(reinterpret_cast<const __m128i*>(column(lane + 2)));
    const __m128i d = _mm_loadu_si128(reinterpret_cast<const __m128i*>(column(lane + 3)));
    const __m128i low_ab = _mm_unpacklo_epi32(a, b), low_cd = _mm_unpacklo_epi32(c, d);
    const __m128i high_ab = _mm_unpackhi_epi32(a, b), high_cd = _mm_unpackhi_epi32(c, d);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(quads), _mm_unpacklo_epi64(low_ab, low_cd));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(quads + row_bytes), _mm_unpackhi_epi64(low_ab, low_cd));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(quads + 2 * row_bytes), _mm_unpacklo_epi64(high_ab, high_cd));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(quads + 3 * row_bytes), _mm_unpackhi_epi64(high_ab, high_cd));
  }
}

int rounded_up(int value, int step) { return (value + step - 1) / step * step; }

// source -> [num_strips * 4, padded width, 3] quads of rows, row_bytes apart.
template <typename Digits>
void pass_across(InnerProducts inner_products, const ResampleSource& source, const ResampleWeights& across,
                 int num_rows, std::uint8_t* out, std::size_t row_bytes) {
  const int width = static_cast<int>(across.windows.size()), num_columns = across.last() - across.first();
  const int num_strips = rounded_up(num_rows, kStripRows) / kStripRows;
  const int num_column_quads = rounded_up(num_columns, 4) / 4;
  const int most_strips = std::min(num_strips, kStripsAtOnce);
  const QuadWeights weights = in_quads<Digits>(across);
  const Bytes quads = make_bytes(static_cast<std::size_t>(num_column_quads) * most_strips * kStripLanes * kQuadBytes);
  const Bytes columns = make_bytes(static_cast<std::size_t>(rounded_up(width, 4)) * most_strips * kStripLanes);
  for (int first_strip = 0; first_strip < num_strips; first_strip += kStripsAtOnce) {
    const int strips = std::min(num_strips - first_strip, kStripsAtOnce);
    const std::size_t column_bytes = strips * kStripLanes * kQuadBytes;
    for (int strip = 0; strip < strips; ++strip) {
      const std::uint8_t* rows[kStripRows];
      for (int row = 0; row < kStripRows; ++row) {  // rows after the last one repeat it and have weight 0
        const int y = std::min((first_strip + strip) * kStripRows + row, num_rows - 1);
        rows[row] = source.pixels + y * source.row_bytes;
      }
      strip_to_quads(rows, num_column_quads, source.end, quads.get() + strip * kStripLanes * kQuadBytes, column_bytes);
    }
    const std::size_t pixel_bytes = strips * kStripLanes;
    for (int x = 0; x < width; ++x) {
      const auto [first_quad, num_quads] = weights.windows[x];
      inner_products(quads.get() + first_quad * column_bytes, column_bytes, num_quads,
                     &weights.words[x * weights.stride], strips, columns.get() + x * pixel_bytes);
    }
    for (int strip = 0; strip < strips; ++strip, out += kStripRows / 4 * row_bytes) {
      columns_to_rows(columns.get() + strip * kStripLanes, pixel_bytes, rounded_up(width, 4), out, row_bytes);
    }
  }
}

template <typename Digits>
void resample(InnerProducts inner_products, const ResampleSource& source, const ResampleWeights& across,
              const ResampleWeights& down, std::uint8_t* out) {
  const int height = static_cast<int>(down.windows.size());
  const int num_rows = down.last() - down.first();
  const int row_lanes = static_cast<int>(across.windows.size()) * 3;
  const std::size_t row_bytes = rounded_up(row_lanes, kStripLanes) * kQuadBytes;
  const Bytes rows = make_bytes(rounded_up(num_rows, kStripRows) / 4 * row_bytes);
  pass_across<Digits>(inner_products, source, across, num_rows, rows.get(), row_bytes);

  const QuadWeights weights = in_quads<Digits>(down);
  const int num_blocks = row_lanes / kStripLanes, whole_lanes = num_blocks * kStripLanes;
  for (int y = 0; y < height; ++y, out += row_lanes) {
    const auto [first_quad, num_quads] = weights.windows[y];
    const std::uint8_t* quads = rows.get() + first_quad * row_bytes;
    const std::uint32_t* words = &weights.words[y * weights.stride];
    inner_products(quads, row_bytes, num_quads, words, num_blocks, out);
    if (whole_lanes < row_lanes) {
      std::uint8_t rest[kStripLanes];
      inner_products(quads + whole_lanes * kQuadBytes, row_bytes, num_quads, words, 1, rest);
      std::memcpy(out + whole_lanes, rest, row_lanes - whole_lanes);
    }
  }
}

}  // namespace

bool can_resample_by(ResamplePath path) {
  switch (path) {
    case ResamplePath::portable:
      return true;
    case ResamplePath::avx2:
      return __builtin_cpu_supports("avx2");
    case ResamplePath::avx512:
      return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
             __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni") &&
             __builtin_cpu_supports("avx2");
  }
  return false;
}

void resample_by_quads(ResamplePath path, const ResampleSource& source, const ResampleWeights& across,
                       const ResampleWeights& down, std::uint8_t* out) {
  if (path == ResamplePath::avx512) {
    resample<DigitsOf8>(inner_products_avx512, source, across, down, out);
  } else {
    resample<DigitsOf16>(inner_products_avx2, source, across, down, out);
  }
}

}  // namespace maskedkd

#else

namespace maskedkd {

bool can_resample_by(ResamplePath path) { return path == ResamplePath::portable; }

void resample_by_quads(ResamplePath /*path*/, const ResampleSource& source, const ResampleWeights& across,
                       const ResampleWeights& down, std::uint8_t* out) {
  resample_portably(source, across, down, out);
}

}  // namespace maskedkd

#endif

namespace maskedkd {

ResamplePath best_resample_path() {
  ResamplePath best = ResamplePath::portable;
  for (const ResamplePath path : kResamplePaths) {
    best = can_resample_by(path) ? path : best;
  }
  return best;
}

}  // namespace maskedkd
