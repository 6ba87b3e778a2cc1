// Makes from a batch's bytes what a model takes, on the model's device and in one kernel: normalised, erased and mixed
// images, and soft targets. Everything that varies from batch to batch is read from the inputs, so that a CUDA graph
// can contain it. The CPU computes the same bits from the same source. Used by training, evaluation and the preview.
// B images of S x S pixels, C classes, E boxes of random erasing in an image.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>

#include <array>

namespace maskedkd {

// Of ImageNet's red, green and blue levels, divided by 255.
inline constexpr std::array<float, 3> kImageMean = {0.485F, 0.456F, 0.406F};
inline constexpr std::array<float, 3> kImageDeviation = {0.229F, 0.224F, 0.225F};

// Contiguous, all on BatchPreparer::input_device().
struct BatchInputs {
  at::Tensor pixels = {};         // [B, S, S, 3] uint8
  at::Tensor erasures = {};       // [B, E, kPlannedErasureWords] int32: each a PlannedErasure; undefined: none
  at::Tensor image_shares = {};   // [B] float32: of image i in its mixture with B - 1 - i; undefined: no mixing
  at::Tensor cut_boxes = {};      // [B, 4] int32: top, left, height, width of what image B - 1 - i pastes into image i
  at::Tensor labels = {};         // [B] int64
  at::Tensor target_shares = {};  // [B] float32
};

// Owns the tables that the kernel reads, on its device.
class BatchPreparer {
 public:
  // device: where the models are.
  explicit BatchPreparer(at::Device device);

  // Where the inputs must be: the device, but the CPU where this program was built without kernels for GPUs.
  at::Device input_device() const { return levels_.device(); }

  // images [B, 3, S, S] float32 and targets [B, C] float32, contiguous on the device, are written: (x / 255 - mean) /
  // deviation; then each erasure; then own * share + partner * (1 - share), or the partner's pixels in a cut box. With
  // smoothing s a target is s / C, of the own class 1 - s + s / C, before it is mixed by target_shares. Without
  // `targets` (undefined) the labels are not read. On a GPU one launch on the current stream, whose dimensions depend
  // on the shapes alone; no wait. Throws Error on other shapes.
  void prepare(const BatchInputs& inputs, double smoothing, const at::Tensor& images, const at::Tensor& targets) const;

  // pixels [B, S, S, 3] uint8 on the CPU or the device -> [B, 3, S, S] float32 on the device, normalised.
  at::Tensor normalised(const at::Tensor& pixels) const;

 private:
  at::Device device_;
  at::Tensor levels_;          // [3, 256] float32: the normalised value of each level
  at::Tensor erasing_values_;  // [kNumErasingQuantiles] int32: the bits of erasing_quantiles()
};

}  // namespace maskedkd
