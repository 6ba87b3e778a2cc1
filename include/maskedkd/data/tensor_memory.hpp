// Reuses the memory of large CPU tensors. A training step allocates and frees the same large tensors again and again;
// the C library maps each from the kernel and unmaps it, so that every step touches fresh pages: at a micro-batch of
// 128 the kernel then clears some 4,000 pages for each image. Setting glibc's thresholds instead keeps the pages, but
// its posix_memalign() (glibc 2.36) does not find the gap that an equal allocation has left, and resident memory grows
// to a multiple. The programs that train and evaluate call this first.
#pragma once

namespace maskedkd {

// From now on a CPU tensor of 1 MiB or more takes the smallest free block that fits it without wasting more than a
// quarter, else a new block from the kernel, in huge pages where possible. The process keeps blocks, at most 1.5 times
// the peak of what was in use. Affects the whole process; call once, before other threads exist. Tensors may be made
// and freed on any thread. Where memory runs out, LibTorch's own allocator reports it.
void reuse_tensor_memory();

}  // namespace maskedkd
