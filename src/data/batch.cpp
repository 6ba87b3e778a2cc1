#include "maskedkd/data/batch.hpp"

#include "maskedkd/kernels/prepare_batch.hpp"

#include <ATen/ops/empty.h>

namespace maskedkd {

at::Tensor normalised_images(const at::Tensor& pixels, at::Device device) {
  return BatchPreparer(device).normalised(pixels);
}

at::Tensor prepared_images(const StagedViews& views, bool mixed) {
  BatchInputs inputs = {.pixels = views.pixels, .erasures = views.erasures};
  if (mixed) {
    inputs.image_shares = views.image_shares;
    inputs.cut_boxes = views.cut_boxes;
  }
  const at::Tensor images =
      at::empty({inputs.pixels.size(0), 3, inputs.pixels.size(1), inputs.pixels.size(2)}, at::kFloat);
  BatchPreparer(at::kCPU).prepare(inputs, /*smoothing=*/0, images, /*targets=*/{});
  return images;
}

float denormalised(float value, std::size_t channel) {
  return (value * kImageDeviation.at(channel) + kImageMean.at(channel)) * 255.0F;
}

}  // namespace maskedkd
