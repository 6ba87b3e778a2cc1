// Training plans applied on a GPU: the loader's workers decode, and one kernel does the rest to a whole micro-batch, a
// block an image. It computes what apply_training_plan() does, in the same arithmetic: no level differs by more than
// one. The same code compiled for the CPU stands in on a CPU, for tests; training there takes apply_training_plan().
#pragma once

#include "maskedkd/augment/augment.hpp"

#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>

#include <cstddef>
#include <cstdint>
#include <vector>

namespace maskedkd {

// What the crops of a micro-batch are before resampling, and what is to be done to each.
struct RawCrops {
  struct Place {
    std::size_t piece = 0;
    std::int64_t offset = 0;  // bytes
  };

  int input_size = 0;
  std::vector<at::Tensor> pieces;   // [bytes] uint8, CPU (pinned where asked): memory that holds crops
  std::vector<Place> places;        // [B] where each begins: [height, width, 3]
  std::vector<TrainingPlan> plans;  // [B]; of plan.crop height and width count, erasing comes after normalisation
};

// Whether the program was built with kernels for GPUs.
bool can_augment_on_gpu();

// [B, input_size, input_size, 3] uint8 on `device`: crop, resize, flip, operations. On a GPU it is queued on the
// current stream, not waited for, and the same bits every time. Throws Error where a crop does
// not lie in its piece, or on a GPU that the program has no kernels for.
at::Tensor augmented_images(const RawCrops& crops, at::Device device);

}  // namespace maskedkd
