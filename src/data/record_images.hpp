// One record into all the places that want an image of it: read and decoded once, no more of it than its crops need.
#pragma once

#include "maskedkd/data/loader.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace maskedkd {

struct ImagePlace {
  MicroBatch& batch;
  std::size_t position;
  std::vector<std::uint8_t>& crop;  // its pixels, where LoaderOptions::raw_crops
};

// Owned by one worker: keeps memory from one record to the next.
class RecordImages {
 public:
  RecordImages(const ShardSet& set, const LoaderOptions& options) : set_(set), options_(options) {}

  // Image, label and erasure of each place. Returns the places that got none, because what they need of the record is
  // damaged: damage() says how. Which places these are does not depend on which others are asked for with them. Throws
  // any other Error.
  std::vector<ImagePlace> make(std::int64_t index, std::span<const ImagePlace> places);
  const BadRecord& damage() const { return *damage_; }

 private:
  void make_images(std::int64_t index, std::span<const ImagePlace> places);
  void make_training(std::int64_t index, std::span<const ImagePlace> places);
  void keep_crop(TrainingPlan plan, const ImageRegion& image, const ImagePlace& place) const;
  void make_evaluation(std::int64_t index, std::span<const ImagePlace> places);
  ImageRegion decode(std::int64_t index, const PixelBox& box) const;

  const ShardSet& set_;
  const LoaderOptions& options_;
  Record record_;
  std::vector<TrainingPlan> plans_;  // one a place
  std::optional<BadRecord> damage_;
};

}  // namespace maskedkd
