// The implementations of crop_and_resize(), which all give the same bits. It uses the fastest that the processor
// supports; tests run each of them.
#pragma once

#include "maskedkd/codecs/image.hpp"
#include "resample_weights.hpp"

#include <cstddef>
#include <span>

namespace maskedkd {

enum class ResamplePath { portable, avx2, avx512 };
inline constexpr ResamplePath kResamplePaths[] = {ResamplePath::portable, ResamplePath::avx2, ResamplePath::avx512};

bool can_resample_by(ResamplePath path);
ResamplePath best_resample_path();

void crop_and_resize_by(ResamplePath path, const ImageRegion& image, const PixelBox& box, int full_height,
                        int full_width, const PixelBox& window, Interpolation interpolation,
                        std::span<std::uint8_t> out);

// The pixels that are read: rows of RGB, beginning with pixel (down.first(), across.first()) of the box.
struct ResampleSource {
  const std::uint8_t* pixels;
  std::size_t row_bytes;    // from one row to the next
  const std::uint8_t* end;  // of all that may be read
};

// The two passes. out: [down.windows.size(), across.windows.size(), 3].
void resample_portably(const ResampleSource& source, const ResampleWeights& across, const ResampleWeights& down,
                       std::uint8_t* out);
void resample_by_quads(ResamplePath path, const ResampleSource& source, const ResampleWeights& across,
                       const ResampleWeights& down, std::uint8_t* out);

}  // namespace maskedkd
