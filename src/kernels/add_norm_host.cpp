#include "add_norm_host.hpp"

#include "maskedkd/base/clones.hpp"

namespace maskedkd::kernel {
namespace {

constexpr int kSums = 16;  // independent sums, for vector registers

struct WholeRow {
  template <typename Work>
  MASKEDKD_ALWAYS_INLINE void for_each(int width, const Work& work) const {
#if !defined(__clang__)
#pragma GCC ivdep  // no lambda of the kernel writes what it reads at another column
#endif
    for (int i = 0; i < width; ++i) {
      work(i);
    }
  }
  template <typename Term>
  MASKEDKD_ALWAYS_INLINE Sums sums(int width, const Term& term) const {
    float first[kSums] = {}, second[kSums] = {};
    const int whole = width - width % kSums;
    for (int i = 0; i < whole; i += kSums) {
      for (int lane = 0; lane < kSums; ++lane) {
        const Sums value = term(i + lane);
        first[lane] += value.first;
        second[lane] += value.second;
      }
    }
    for (int i = whole; i < width; ++i) {
      const Sums value = term(i);
      first[i - whole] += value.first;
      second[i - whole] += value.second;
    }
    for (int half = kSums / 2; half > 0; half /= 2) {
      for (int lane = 0; lane < half; ++lane) {
        first[lane] += first[lane + half];
        second[lane] += second[lane + half];
      }
    }
    return {first[0], second[0]};
  }
  MASKEDKD_ALWAYS_INLINE bool is_first() const { return true; }
};

template <typename T>
MASKEDKD_ALWAYS_INLINE void forward(const AddNorm<T>& work, std::int64_t first, std::int64_t last) {
  for (std::int64_t row = first; row < last; ++row) {
    add_norm_row(work, row, WholeRow());
  }
}

template <typename T>
MASKEDKD_ALWAYS_INLINE void backward(const AddNormBackward<T>& work, std::int64_t first, std::int64_t last) {
  for (std::int64_t chunk = first; chunk < last; ++chunk) {
    add_norm_backward_chunk(work, chunk, WholeRow());
  }
}

}  // namespace

MASKEDKD_CLONES void add_norm_on_host(const AddNorm<float>& work, std::int64_t first, std::int64_t last) {
  forward(work, first, last);
}
MASKEDKD_CLONES void add_norm_on_host(const AddNorm<Bfloat16>& work, std::int64_t first, std::int64_t last) {
  forward(work, first, last);
}
MASKEDKD_CLONES void add_norm_backward_on_host(const AddNormBackward<float>& work, std::int64_t first,
                                               std::int64_t last) {
  backward(work, first, last);
}
MASKEDKD_CLONES void add_norm_backward_on_host(const AddNormBackward<Bfloat16>& work, std::int64_t first,
                                               std::int64_t last) {
  backward(work, first, last);
}

void add_chunks_on_host(const float* parts, std::int64_t chunks, int width, float* to) {
  for (int i = 0; i < width; ++i) {
    to[i] = 0;
  }
  for (std::int64_t chunk = 0; chunk < chunks; ++chunk) {
    const float* const part = parts + chunk * width;
    for (int i = 0; i < width; ++i) {
      to[i] += part[i];
    }
  }
}

}  // namespace maskedkd::kernel
