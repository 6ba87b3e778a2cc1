// A micro-batch as the loader stages it, of given images.
#pragma once

#include "maskedkd/augment/erasing.hpp"
#include "maskedkd/data/loader.hpp"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <vector>

namespace maskedkd::testing {

// pixels [B, S, S, 3] uint8, labels [B] int64; boxes of random erasing for each image, or none at all.
inline MicroBatch staged_micro_batch(const BatchRequest& request, const DecisionOptions& decisions, std::uint64_t seed,
                                     const at::Tensor& pixels, const at::Tensor& labels,
                                     const std::vector<std::vector<PixelBox>>& boxes = {}) {
  MicroBatch batch;
  batch.request = request;
  StagedContents contents = training_contents(request, decisions, seed);
  contents.size = pixels.size(1);
  for (const auto& of_image : boxes) {
    contents.num_erasures = std::max(contents.num_erasures, static_cast<std::int64_t>(of_image.size()));
  }
  const StagedLayout layout(contents);
  batch.staged = {layout, at::empty({layout.num_bytes}, at::kByte)};
  const StagedViews& views = batch.staged.views;
  views.pixels.copy_(pixels);
  views.labels.copy_(labels);
  if (views.erasures.defined()) {
    auto* planned = reinterpret_cast<PlannedErasure*>(views.erasures.zero_().mutable_data_ptr<std::int32_t>());
    for (std::uint32_t image = 0; image < boxes.size(); ++image) {
      for (std::uint32_t i = 0; i < boxes[image].size(); ++i) {
        planned[image * contents.num_erasures + i] = plan_erasure(
            boxes[image][i], ErasingMode::pixel, request.address(RandomPurpose::erasing_noise, seed, image), i);
      }
    }
  }
  draw_decisions(request, decisions, seed, static_cast<int>(contents.size), views);
  return batch;
}

}  // namespace maskedkd::testing
