// Makes all images of one record that micro-batches need: it is read and decoded once, and no more of it than needed.
#pragma once

#include "maskedkd/data/loader.hpp"

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

namespace maskedkd {

// Memory for the raw crops of one micro-batch, whose sizes are not known before: pieces of one size, filled in turn.
class CropMemory {
 public:
  CropMemory(RawCrops& crops, bool pinned) : crops_(crops), pinned_(pinned) {}
  // For the crop of a position, whose place is recorded. Thread-safe. Throws where there is no memory.
  std::span<std::uint8_t> allocate(std::size_t position, std::size_t num_bytes);

 private:
  std::mutex mutex_;
  RawCrops& crops_;
  const bool pinned_;
  std::int64_t used_ = 0;  // bytes of the last piece
};

struct ImagePlace {
  MicroBatch& batch;
  std::size_t position;
  CropMemory* crop_memory;  // with LoaderOptions::raw_crops
};

// Owned by one worker; keeps memory from one record to the next.
class RecordImages {
 public:
  RecordImages(const ShardSet& set, const LoaderOptions& options) : set_(set), options_(options) {}

  // Makes image, label and erasures of each place. Returns the places that got none because what they need of the
  // record is damaged, which does not depend on the other places; damage() describes how. Throws any other Error.
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
  std::vector<TrainingPlan> plans_;  // one for each place
  std::optional<BadRecord> damage_;
};

}  // namespace maskedkd
