// The plan of one image, applied by many lanes: the threads of a GPU's block, or threads of a CPU. One source for both,
// in the arithmetic of pixel_arithmetic.hpp and resample_arithmetic.hpp.
//
// A type Lanes has index, count, wait() (until all lanes have called it) and add(counter, amount) (atomically). There
// is a wait() between what one lane writes and where another one reads it.
#pragma once

#include "operation_kernels.hpp"
#include "resize_kernel.hpp"

namespace maskedkd::kernel {

template <typename Lanes>
MASKEDKD_KERNEL void augment(const Lanes& lanes, const AugmentBatch& batch, int index, Shared& shared) {
  const PlannedImage plan = batch.planned[index];
  const int size = batch.size, num_pixels = size * size;
  std::uint8_t* const result = batch.images + static_cast<std::int64_t>(index) * num_pixels * 3;
  std::uint8_t *image = result, *other = batch.scratch + plan.scratch;
  if (plan.interpolation == Interpolation::bilinear) {
    resize<TriangleFilter>(lanes, batch.crops + plan.crop, plan, size, other, image);
  } else {
    resize<CubicFilter>(lanes, batch.crops + plan.crop, plan, size, other, image);
  }
  const auto swap = [&] {
    std::uint8_t* const before = image;
    image = other;
    other = before;
  };
  for (int i = 0; i < plan.num_operations; ++i) {
    const PlannedOperation& operation = batch.operations[plan.first_operation + i];
    switch (operation.kind) {
      case OperationKind::auto_contrast:
      case OperationKind::equalize:
      case OperationKind::invert:
      case OperationKind::posterize:
      case OperationKind::solarize:
      case OperationKind::solarize_add:
      case OperationKind::contrast:
      case OperationKind::brightness:
        map_levels(lanes, operation, image, num_pixels, shared);
        break;
      case OperationKind::color:
      case OperationKind::grayscale:
        blend_with_luma(lanes, operation, image, num_pixels);
        break;
      case OperationKind::sharpness:
        sharpen(lanes, operation.factor, image, other, size);
        swap();
        break;
      case OperationKind::rotate:
      case OperationKind::shear_x:
      case OperationKind::shear_y:
      case OperationKind::translate_x:
      case OperationKind::translate_y:
        transform(lanes, operation, image, other, size);
        swap();
        break;
      case OperationKind::gaussian_blur:
        for (int pass = 0; pass < 2 * kBoxPasses; ++pass) {
          box_pass(lanes, operation.box, pass < kBoxPasses ? 3 : 3 * size, image, other, size);
          swap();
        }
        break;
    }
  }
  if (image != result) {
    for_each(lanes, 3 * num_pixels, [&](int i) { result[i] = image[i]; });
  }
}

}  // namespace maskedkd::kernel
