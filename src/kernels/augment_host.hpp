// The kernel compiled for the CPU.
#pragma once

#include "augment_batch.hpp"
#include "maskedkd/kernels/augment_images.hpp"

namespace maskedkd::kernel {

// All in the CPU's memory. num_lanes: threads that work on one image together, as a GPU's would; the result is the
// same.
void augment_on_host(const AugmentBatch& batch, int num_lanes);
// augmented_images() on a CPU, for tests.
at::Tensor augmented_by_lanes(const RawCrops& crops, int num_lanes);

}  // namespace maskedkd::kernel
