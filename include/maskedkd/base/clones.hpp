// Compiles an inner loop for several generations of x86-64; the variant is chosen when the program starts. All give the
// same bits: integers, or floats without fused multiply-add.
#pragma once

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 12 && !defined(__SANITIZE_THREAD__)
#define MASKEDKD_CLONES __attribute__((target_clones("default", "avx2", "arch=x86-64-v4")))
#else
#define MASKEDKD_CLONES
#endif
