// Marks functions that CUDA kernels call as well as code for the CPU. C++17, like everything that CUDA code includes.
#pragma once

#if defined(__CUDACC__)
#define MASKEDKD_HOST_DEVICE __host__ __device__
#else
#define MASKEDKD_HOST_DEVICE
#endif

// For pieces of inner loops, which are compiled with the loop.
#define MASKEDKD_ALWAYS_INLINE MASKEDKD_HOST_DEVICE inline __attribute__((always_inline))
