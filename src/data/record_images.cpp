#include "record_images.hpp"

#include "damage_notice.hpp"
#include "maskedkd/base/philox.hpp"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <utility>

namespace maskedkd {
namespace {

constexpr std::int64_t kPieceBytes = 1 << 23;  // about 25 crops of photographs

PixelBox united(const PixelBox& a, const PixelBox& b) {
  const int top = std::min(a.top, b.top), left = std::min(a.left, b.left);
  return {top, left, std::max(a.top + a.height, b.top + b.height) - top,
          std::max(a.left + a.width, b.left + b.width) - left};
}

std::span<std::uint8_t> pixels_of(const ImagePlace& place, int side) {
  const auto num_bytes = static_cast<std::size_t>(side) * static_cast<std::size_t>(side) * 3;
  return {place.batch.staged.views.pixels.mutable_data_ptr<std::uint8_t>() + place.position * num_bytes, num_bytes};
}

RandomAddress address_of(const ImagePlace& place, std::uint64_t seed, RandomPurpose purpose) {
  return place.batch.request.address(purpose, seed, static_cast<std::uint32_t>(place.position));
}

void stage_erasures(const std::vector<PixelBox>& boxes, ErasingMode mode, const ImagePlace& place, std::uint64_t seed) {
  const at::Tensor& table = place.batch.staged.views.erasures;
  if (!table.defined()) {
    return;
  }
  const auto capacity = static_cast<std::size_t>(table.size(1));
  const RandomAddress address = address_of(place, seed, RandomPurpose::erasing_noise);
  auto* planned = reinterpret_cast<PlannedErasure*>(table.mutable_data_ptr<std::int32_t>()) + place.position * capacity;
  for (std::size_t i = 0; i < capacity; ++i) {
    planned[i] =
        i < boxes.size() ? plan_erasure(boxes[i], mode, address, static_cast<std::uint32_t>(i)) : PlannedErasure{};
  }
}

}  // namespace

std::span<std::uint8_t> CropMemory::allocate(std::size_t position, std::size_t num_bytes) {
  const std::lock_guard lock(mutex_);
  const auto count = static_cast<std::int64_t>(num_bytes);
  if (crops_.pieces.empty() || crops_.pieces.back().numel() - used_ < count) {
    crops_.pieces.push_back(
        at::empty({std::max(kPieceBytes, count)}, at::TensorOptions().dtype(at::kByte).pinned_memory(pinned_)));
    used_ = 0;
  }
  crops_.places[position] = {crops_.pieces.size() - 1, used_};
  std::uint8_t* begin = crops_.pieces.back().mutable_data_ptr<std::uint8_t>() + used_;
  used_ += count;
  return {begin, num_bytes};
}

std::vector<ImagePlace> RecordImages::make(std::int64_t index, std::span<const ImagePlace> places) {
  try {
    set_.read(index, record_);
  } catch (const BadRecord& error) {
    damage_.emplace(error);
    return {places.begin(), places.end()};
  }
  try {
    make_images(index, places);
    return {};
  } catch (const BadRecord& error) {
    damage_.emplace(error);
  }
  // The damage may concern only some crops: each is tried alone, so that the result does not depend on the others.
  std::vector<ImagePlace> left;
  for (const ImagePlace& place : places) {
    try {
      make_images(index, {&place, 1});
    } catch (const BadRecord&) {
      left.push_back(place);
    }
  }
  return left;
}

// Throws BadRecord where the image can't be decoded.
void RecordImages::make_images(std::int64_t index, std::span<const ImagePlace> places) {
  if (options_.training) {
    make_training(index, places);
  } else {
    make_evaluation(index, places);
  }
  for (const ImagePlace& place : places) {
    place.batch.staged.views.labels.mutable_data_ptr<std::int64_t>()[place.position] = record_.label;
  }
}

void RecordImages::make_training(std::int64_t index, std::span<const ImagePlace> places) {
  const int side = options_.augment.input_size;
  plans_.clear();
  PixelBox needed;
  for (const ImagePlace& place : places) {
    PhiloxStream random(address_of(place, options_.seed, RandomPurpose::augmentation));
    plans_.push_back(draw_training_plan(random, record_.shape.height, record_.shape.width, options_.augment));
    needed = plans_.size() == 1 ? plans_[0].crop : united(needed, plans_.back().crop);
  }
  const ImageRegion image = decode(index, needed);
  for (std::size_t i = 0; i < places.size(); ++i) {
    if (options_.raw_crops) {
      keep_crop(plans_[i], image, places[i]);
    } else {
      apply_training_plan(plans_[i], image, side, pixels_of(places[i], side));
    }
    stage_erasures(plans_[i].erase, options_.augment.erasing_mode, places[i], options_.seed);
  }
}

void RecordImages::keep_crop(TrainingPlan plan, const ImageRegion& image, const ImagePlace& place) const {
  const int side = options_.augment.input_size;
  const bool resizes = std::int64_t{plan.crop.height} * plan.crop.width > std::int64_t{kRawCropPixels} * side * side;
  const int height = resizes ? side : plan.crop.height, width = resizes ? side : plan.crop.width;
  const std::span<std::uint8_t> pixels =
      place.crop_memory->allocate(place.position, static_cast<std::size_t>(height) * width * 3);
  crop_and_resize(image, plan.crop, height, width, {0, 0, height, width}, plan.interpolation, pixels);
  plan.crop = {0, 0, height, width};
  place.batch.crops->plans[place.position] = std::move(plan);
}

void RecordImages::make_evaluation(std::int64_t index, std::span<const ImagePlace> places) {
  const int side = options_.augment.input_size;
  const EvaluationPlan plan = plan_evaluation(record_.shape.height, record_.shape.width, options_.augment);
  const ImageRegion image = decode(index, plan.needed);
  for (const ImagePlace& place : places) {
    apply_evaluation_plan(plan, image, pixels_of(place, side));
  }
}

// Throws BadRecord where the image can't be decoded.
ImageRegion RecordImages::decode(std::int64_t index, const PixelBox& box) const {
  try {
    ImageRegion region = decode_record_region(record_, set_.encoding(), box);
    if (!region.damage.empty()) {
      report_damaged_image(set_.describe(index), region.damage);
    }
    return region;
  } catch (const Error& error) {
    throw BadRecord(fmt::format("{}: {}", set_.describe(index), error.what()),
                    "maskedkd_pack verify --decode lists all such records; pack again with --check decode",
                    error.code(), error.where());
  }
}

}  // namespace maskedkd
