// A micro-batch in one contiguous piece of memory: the pixels, the labels and everything random that is decided about
// it, so that one copy brings it to a GPU. The loader's workers fill it; the distillation step reads it on its device.
// Where what lies is a function of the contents' sizes alone, so host and device have the same layout. B images of
// S x S pixels, E boxes of random erasing in an image, L blocks of the student, N patches, K seen patches.
#pragma once

#include "maskedkd/data/batch_request.hpp"
#include "maskedkd/data/mixing.hpp"

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <vector>

namespace maskedkd {

// The sizes of what is staged; 0 or false: not a part of it.
struct StagedContents {
  std::int64_t num_images = 0;  // B
  std::int64_t size = 0;        // S, pixels; 0: the pixels are elsewhere
  bool is_mixed = false;        // image_shares, target_shares and cut_boxes: of every training micro-batch
  std::int64_t num_erasures = 0;
  std::int64_t num_blocks = 0;  // L, with drop path
  std::int64_t num_scores = 0;  // N of the teacher, where the criterion is random
  std::int64_t num_seen = 0;    // K, where the student sees a part of the patches
  bool operator==(const StagedContents&) const = default;
};

// Contiguous tensors that share the memory of a staged batch; undefined: not a part of it.
struct StagedViews {
  at::Tensor pixels;             // [B, S, S, 3] uint8
  at::Tensor labels;             // [B] int64
  at::Tensor image_shares;       // [B] float32: of an image in its mixture with image B - 1 - i; 1 where it is cut
  at::Tensor target_shares;      // [B] float32
  at::Tensor cut_boxes;          // [B, 4] int32: top, left, height, width
  at::Tensor erasures;           // [B, E, kPlannedErasureWords] int32: each a PlannedErasure
  at::Tensor drop_path_factors;  // [L, 2, B] float32: see VitForward
  at::Tensor random_scores;      // [B, N] float32
  at::Tensor seen_patches;       // [B, K] int64
};

// Offsets in bytes, multiples of 256. What changes from one micro-batch to the next (scores, seen patches) lies last.
struct StagedLayout {
  StagedContents contents;
  std::int64_t pixels = 0, labels = 0, image_shares = 0, target_shares = 0, cut_boxes = 0, erasures = 0;
  std::int64_t drop_path_factors = 0, random_scores = 0, seen_patches = 0;
  std::int64_t num_bytes = 0;

  StagedLayout() = default;
  explicit StagedLayout(const StagedContents& what);
  // bytes: [at least num_bytes] uint8 on any device.
  StagedViews views(const at::Tensor& bytes) const;
};

struct StagedBatch {
  StagedBatch() = default;
  // bytes: [at least layout.num_bytes] uint8 on the CPU.
  StagedBatch(const StagedLayout& its_layout, const at::Tensor& memory);

  StagedLayout layout;
  at::Tensor bytes;   // [layout.num_bytes] uint8
  StagedViews views;  // of bytes
};

// What is drawn for each training micro-batch, besides its images.
struct DecisionOptions {
  MixOptions mixing;
  std::vector<double> drop_path_rates;  // [L] in [0, 1); empty: no drop path
  // Patches of the teacher that get random scores in that epoch; 0, or an empty function: none.
  std::function<std::int64_t(std::uint32_t epoch)> num_scores;
  double patch_drop = 0;         // largest fraction of the student's patches that it misses, below 1
  std::int64_t num_patches = 0;  // of the student, with patch_drop
};

// What a training micro-batch stages, but for its pixels: a function of the request's address.
StagedContents training_contents(const BatchRequest& request, const DecisionOptions& options, std::uint64_t seed);

// Writes shares, boxes, drop-path factors, scores and seen patches. Each is a function of the request's address. size:
// of the images, pixels.
void draw_decisions(const BatchRequest& request, const DecisionOptions& options, std::uint64_t seed, int size,
                    const StagedViews& views);

}  // namespace maskedkd
