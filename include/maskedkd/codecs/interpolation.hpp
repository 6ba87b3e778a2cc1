// How pixels are resampled. CUDA code includes this too, and is C++17.
#pragma once

namespace maskedkd {

enum class Interpolation { bilinear, bicubic };

}  // namespace maskedkd
