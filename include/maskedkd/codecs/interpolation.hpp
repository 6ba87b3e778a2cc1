// How pixels are resampled. Separate from image.hpp, as CUDA code, which is C++17, includes it too.
#pragma once

namespace maskedkd {

enum class Interpolation { bilinear, bicubic };

}  // namespace maskedkd
