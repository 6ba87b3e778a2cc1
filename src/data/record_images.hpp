// One record into all the places that want an image of it: read and decoded once, no more of it than its crops need.
#pragma once

#include "maskedkd/data/loader.hpp"

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

namespace maskedkd {

// Memory for the raw crops of one micro-batch. A crop is written where it stays, though sizes are not known before:
// pieces of one size are filled one after the other.
class CropRoom {
 public:
  CropRoom(RawCrops& crops, bool pinned) : crops_(crops), pinned_(pinned) {}
  // For the crop of a position, which is noted. Thread-safe. Throws where there is no memory.
  std::span<std::uint8_t> take(std::size_t position, std::size_t num_bytes);

 private:
  std::mutex mutex_;
  RawCrops& crops_;
  const bool pinned_;
  std::int64_t used_ = 0;  // of the last piece
};

struct ImagePlace {
  MicroBatch& batch;
  std::size_t position;
  CropRoom* room;  // where LoaderOptions::raw_crops
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
