#include "maskedkd/data/staged_batch.hpp"

#include "maskedkd/augment/planned_erasure.hpp"
#include "maskedkd/base/error.hpp"
#include "maskedkd/data/random_patches.hpp"

#include <c10/core/ScalarType.h>

#include <cmath>
#include <functional>
#include <numeric>
#include <optional>

namespace maskedkd {
namespace {

constexpr std::int64_t kAlignment = 256;  // bytes: of a GPU's memory transactions, and more than any type needs

struct Part {
  std::int64_t StagedLayout::*offset;
  at::Tensor StagedViews::*view;
  at::ScalarType dtype;
  std::vector<std::int64_t> shape;

  std::int64_t num_bytes() const {
    return std::accumulate(shape.begin(), shape.end(), static_cast<std::int64_t>(c10::elementSize(dtype)),
                           std::multiplies<>());
  }
};

// In the order of the memory; those with a shape of no elements are not parts of the batch.
std::vector<Part> parts_of(const StagedContents& of) {
  using Layout = StagedLayout;
  using Views = StagedViews;
  const std::int64_t count = of.num_images, mixed = of.is_mixed ? of.num_images : 0;
  return {{&Layout::pixels, &Views::pixels, at::kByte, {count, of.size, of.size, 3}},
          {&Layout::labels, &Views::labels, at::kLong, {count}},
          {&Layout::image_shares, &Views::image_shares, at::kFloat, {mixed}},
          {&Layout::target_shares, &Views::target_shares, at::kFloat, {mixed}},
          {&Layout::cut_boxes, &Views::cut_boxes, at::kInt, {mixed, 4}},
          {&Layout::erasures, &Views::erasures, at::kInt, {count, of.num_erasures, kPlannedErasureWords}},
          {&Layout::drop_path_factors, &Views::drop_path_factors, at::kFloat, {of.num_blocks, 2, count}},
          {&Layout::random_scores, &Views::random_scores, at::kFloat, {count, of.num_scores}},
          {&Layout::seen_patches, &Views::seen_patches, at::kLong, {count, of.num_seen}}};
}

void write_mixing(const MixPlan& plan, const StagedViews& views) {
  float* image_share = views.image_shares.mutable_data_ptr<float>();
  float* target_share = views.target_shares.mutable_data_ptr<float>();
  std::int32_t* box = views.cut_boxes.mutable_data_ptr<std::int32_t>();
  for (const MixPlan::Sample& sample : plan.samples) {
    *target_share++ = static_cast<float>(sample.lambda);
    *image_share++ = sample.cut ? 1.0F : static_cast<float>(sample.lambda);
    const PixelBox cut = sample.cut ? sample.box : PixelBox{};
    for (const int value : {cut.top, cut.left, cut.height, cut.width}) {
      *box++ = value;
    }
  }
}

// floor(keep + U) / keep, one U a sample (Huang et al. 2016).
void draw_drop_path(PhiloxStream& random, const std::vector<double>& rates, const at::Tensor& factors) {
  float* factor = factors.mutable_data_ptr<float>();
  for (const double rate : rates) {
    const auto keep = static_cast<float>(1.0 - rate);
    for (std::int64_t i = 0; i < 2 * factors.size(2); ++i) {
      // 24 bits, so that rounding to float never gives 1.
      const float uniform = static_cast<float>(random.next_word() >> 8) * 0x1p-24F;
      *factor++ = rate == 0 ? 1.0F : std::floor(uniform + keep) / keep;
    }
  }
}

}  // namespace

StagedLayout::StagedLayout(const StagedContents& what) : contents(what) {
  for (const Part& part : parts_of(contents)) {
    this->*part.offset = num_bytes;
    num_bytes += (part.num_bytes() + kAlignment - 1) / kAlignment * kAlignment;
  }
}

StagedViews StagedLayout::views(const at::Tensor& bytes) const {
  if (bytes.numel() < num_bytes) {
    throw Error(fmt::format("a staged batch of {} bytes does not lie in {} bytes", num_bytes, bytes.numel()));
  }
  StagedViews views;
  for (const Part& part : parts_of(contents)) {
    if (const std::int64_t length = part.num_bytes(); length > 0) {
      views.*part.view = bytes.narrow(0, this->*part.offset, length).view(part.dtype).view(part.shape);
    }
  }
  return views;
}

StagedBatch::StagedBatch(const StagedLayout& its_layout, const at::Tensor& memory)
    : layout(its_layout), bytes(memory.narrow(0, 0, layout.num_bytes)), views(layout.views(bytes)) {}

StagedContents training_contents(const BatchRequest& request, const DecisionOptions& options, std::uint64_t seed) {
  StagedContents contents;
  contents.num_images = static_cast<std::int64_t>(request.indices.size());
  contents.is_mixed = true;
  contents.num_blocks = static_cast<std::int64_t>(options.drop_path_rates.size());
  contents.num_scores = options.num_scores ? options.num_scores(request.epoch) : 0;
  if (options.patch_drop > 0) {
    PhiloxStream random(request.address(RandomPurpose::patch_selection, seed));
    contents.num_seen = draw_num_seen(random, options.num_patches, options.patch_drop);
  }
  return contents;
}

void draw_decisions(const BatchRequest& request, const DecisionOptions& options, std::uint64_t seed, int size,
                    const StagedViews& views) {
  const auto stream = [&](RandomPurpose purpose) { return PhiloxStream(request.address(purpose, seed)); };
  PhiloxStream mixing = stream(RandomPurpose::mixing);
  write_mixing(draw_mix_plan(mixing, static_cast<int>(request.indices.size()), size, size, options.mixing), views);
  if (views.drop_path_factors.defined()) {
    PhiloxStream random = stream(RandomPurpose::drop_path);
    draw_drop_path(random, options.drop_path_rates, views.drop_path_factors);
  }
  PhiloxStream patches = stream(RandomPurpose::patch_selection);
  if (views.random_scores.defined()) {
    draw_random_scores(patches, views.random_scores);
  }
  if (views.seen_patches.defined()) {
    draw_num_seen(patches, options.num_patches, options.patch_drop);  // whose result was needed before
    draw_seen_patches(patches, options.num_patches, views.seen_patches);
  }
}

}  // namespace maskedkd
