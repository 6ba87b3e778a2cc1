// The kernel compiled for the CPU.
#pragma once

#include "augment_batch.hpp"
#include "maskedkd/kernels/augment_images.hpp"

namespace maskedkd::kernel {

// batch: in the CPU's memory. num_lanes: threads that work on one image together; it does not change the result.
void augment_on_host(const AugmentBatch& batch, int num_lanes);
// augmented_images() on a CPU, for tests.
at::Tensor augmented_by_lanes(const RawCrops& crops, int num_lanes);

}  // namespace maskedkd::kernel
