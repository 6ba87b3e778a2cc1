// Applies training plans on a GPU: the loader's workers decode, and one kernel does the rest to a whole micro-batch,
// one block for each image. It computes what apply_training_plan() does, in the same arithmetic: no level differs by
// more than one. The same code also runs on a CPU, for tests; training there uses apply_training_plan().
#pragma once

#include "maskedkd/augment/augment.hpp"

#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>

#include <cstddef>
#include <cstdint>
#include <vector>

namespace maskedkd {

// The crops of a micro-batch before resampling, and what is to be done to each.
struct RawCrops {
  struct Place {
    std::size_t piece = 0;
    std::int64_t offset = 0;  // bytes
  };

  int input_size = 0;
  std::vector<at::Tensor> pieces;   // [bytes] uint8, CPU (pinned where asked): memory of the crops
  std::vector<Place> places;        // [B]: where each crop [height, width, 3] begins
  std::vector<TrainingPlan> plans;  // [B]; of plan.crop only height and width are used; without erasing
};

// Whether this program was built with kernels for GPUs.
bool can_augment_on_gpu();

// [B, input_size, input_size, 3] uint8 on `device`: crop, resize, flip, operations; written into `images` where that is
// given. On a GPU it is queued on the current stream, with the same bits every time. Throws Error where a crop exceeds
// its piece, where `images` does not fit, or without GPU kernels.
at::Tensor augmented_images(const RawCrops& crops, at::Device device, const at::Tensor& images = {});

}  // namespace maskedkd
