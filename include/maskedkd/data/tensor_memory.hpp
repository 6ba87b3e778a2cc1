// Memory of large CPU tensors, used again. A training step allocates and frees the same large tensors over and over;
// the C library maps each from the kernel and gives it back, so that every step touches fresh pages: at a micro-batch
// of 128 the kernel then clears some 4,000 pages an image. Setting glibc's thresholds instead keeps the pages, but its
// posix_memalign() (glibc 2.36) does not find the hole that an equal allocation has left, and resident memory grows to
// a multiple. The programs that train and evaluate call this first.
#pragma once

namespace maskedkd {

// From now on a CPU tensor of 1 MiB or more takes the smallest block of memory that an earlier one has left and that
// fits it without wasting more than a quarter, else a new block from the kernel, in huge pages where the kernel grants
// them. Blocks stay with the process, but all together never hold more than 1.5 times the most that was in use at once.
// Smaller tensors are allocated as before. For the whole process; call once, before other threads exist. Tensors may be
// made and freed on any thread. Where memory runs out, LibTorch's own allocator reports it.
void reuse_tensor_memory();

}  // namespace maskedkd
