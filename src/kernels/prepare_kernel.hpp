// One pixel or one row of targets of a prepared batch, from its staged bytes. One source for CUDA and the CPU. Nothing
// is shared between pixels, so that the order of the work changes no bit. Products and sums are rounded separately.
// C++17.
#pragma once

#include "maskedkd/augment/planned_erasure.hpp"
#include "maskedkd/base/host_device.hpp"
#include "maskedkd/base/philox_rounds.hpp"

#include <cstdint>
#include <cstring>

namespace maskedkd::kernel {

// B images of S x S pixels, C classes, E boxes of random erasing in an image. All pointers are to memory of the device
// that does the work.
struct Preparation {
  const std::uint8_t* pixels;      // [B, S, S, 3]
  const PlannedErasure* erasures;  // [B, E], of each image in order of application
  const float* image_shares;       // [B]: of an image in its mixture with its partner B - 1 - i; nullptr: no mixing
  const std::int32_t* cut_boxes;   // [B, 4]: top, left, height, width of what the partner pastes
  const std::int64_t* labels;      // [B]
  const float* target_shares;      // [B]
  const float* levels;             // [3, 256]: the normalised value of each level of a channel
  const std::uint32_t* erasing_values;  // [kNumErasingQuantiles]: erasing_quantiles()
  float* images;                        // [B, 3, S, S]
  float* targets;                       // [B, C]
  int num_images, size, num_erasures, num_classes;
  float off, on;  // targets of the other classes, of the image's own
};

struct Colour {
  float channels[3];
};

MASKEDKD_HOST_DEVICE inline bool contains(int top, int left, int height, int width, int y, int x) {
  return y >= top && y < top + height && x >= left && x < left + width;
}

MASKEDKD_HOST_DEVICE inline float mixed(float own, float other, float share) {
  return own * share + other * (1.0f - share);
}

// Standard normal number `index` of the stream of an erasure. Block: a type whose words(erasure, number) gives the four
// words of the stream's block `number`.
template <typename Block>
MASKEDKD_HOST_DEVICE float erasing_value(const Preparation& batch, const PlannedErasure& erasure, std::uint32_t index,
                                         Block& block) {
  const std::uint32_t* const words = block.words(erasure, index / 8);
  const std::uint32_t bits = (words[index / 2 % 4] >> (index % 2 * 16)) & 0xFFFFu;
  const std::uint32_t mirrored = (bits >> 15) - 1;  // all bits in the lower half, else none
  const std::uint32_t value = batch.erasing_values[(bits ^ mirrored) & 0x7FFFu] ^ (mirrored << 31);
  float result = 0;
  std::memcpy(&result, &value, sizeof result);
  return result;
}

// Computes each block: for a thread that makes one pixel.
class NewBlock {
 public:
  MASKEDKD_HOST_DEVICE const std::uint32_t* words(const PlannedErasure& erasure, std::uint32_t number) {
    for (int i = 0; i < 4; ++i) {
      words_[i] = erasure.counter[i];
    }
    words_[0] += number;
    philox_rounds(words_, erasure.key[0], erasure.key[1]);
    return words_;
  }

 private:
  std::uint32_t words_[4];
};

// Keeps the last block: for a thread that makes a row, where eight values are made of one.
class LastBlock {
 public:
  MASKEDKD_HOST_DEVICE const std::uint32_t* words(const PlannedErasure& erasure, std::uint32_t number) {
    if (erasure_ != &erasure || number_ != number) {
      erasure_ = &erasure;
      number_ = number;
      words_ = block_.words(erasure, number);
    }
    return words_;
  }

 private:
  const PlannedErasure* erasure_ = nullptr;
  std::uint32_t number_ = 0;
  const std::uint32_t* words_ = nullptr;
  NewBlock block_;
};

// Makes the pixels of a batch, one at a time. The batch outlives it.
template <typename Block>
class PixelMaker {
 public:
  MASKEDKD_HOST_DEVICE explicit PixelMaker(const Preparation& batch) : batch_(batch) {}

  // may_erase, may_mix: false where the caller knows that the pixel is not erased (nor its partner's, if it is mixed),
  // or not mixed.
  template <bool may_erase, bool may_mix>
  MASKEDKD_HOST_DEVICE void prepare(int image, int y, int x) {
    const Colour colour = may_mix ? mixed_colour<may_erase>(image, y, x) : unmixed_colour<may_erase>(image, y, x);
    const std::int64_t plane = static_cast<std::int64_t>(batch_.size) * batch_.size;
    float* const red = batch_.images + image * 3 * plane + static_cast<std::int64_t>(y) * batch_.size + x;
    red[0] = colour.channels[0];
    red[plane] = colour.channels[1];
    red[2 * plane] = colour.channels[2];
  }

 private:
  template <bool may_erase>
  MASKEDKD_HOST_DEVICE Colour mixed_colour(int image, int y, int x) {
    const int partner = batch_.num_images - 1 - image;
    const std::int32_t* box = batch_.cut_boxes + 4 * static_cast<std::int64_t>(image);
    if (contains(box[0], box[1], box[2], box[3], y, x)) {
      return unmixed_colour<may_erase>(partner, y, x);
    }
    Colour colour = unmixed_colour<may_erase>(image, y, x);
    const float share = batch_.image_shares[image];
    if (share != 1.0f) {
      const Colour other = unmixed_colour<may_erase>(partner, y, x);
      for (int channel = 0; channel < 3; ++channel) {
        colour.channels[channel] = mixed(colour.channels[channel], other.channels[channel], share);
      }
    }
    return colour;
  }

  // Normalised and erased.
  template <bool may_erase>
  MASKEDKD_HOST_DEVICE Colour unmixed_colour(int image, int y, int x) {
    if (may_erase) {
      const PlannedErasure* erasures = batch_.erasures + static_cast<std::int64_t>(image) * batch_.num_erasures;
      for (int i = batch_.num_erasures - 1; i >= 0; --i) {  // the last one remains where boxes overlap
        const PlannedErasure& box = erasures[i];
        if (contains(box.top, box.left, box.height, box.width, y, x)) {
          return erased_colour(box, y - box.top, x - box.left);
        }
      }
    }
    const std::uint8_t* pixel =
        batch_.pixels + ((static_cast<std::int64_t>(image) * batch_.size + y) * batch_.size + x) * 3;
    return {{batch_.levels[pixel[0]], batch_.levels[256 + pixel[1]], batch_.levels[512 + pixel[2]]}};
  }

  // y and x: in the box.
  MASKEDKD_HOST_DEVICE Colour erased_colour(const PlannedErasure& box, int y, int x) {
    Colour colour = {{0.0f, 0.0f, 0.0f}};
    if (box.mode != ErasingMode::constant) {
      for (int channel = 0; channel < 3; ++channel) {
        const int index = box.mode == ErasingMode::rand ? channel : (channel * box.height + y) * box.width + x;
        colour.channels[channel] = erasing_value(batch_, box, static_cast<std::uint32_t>(index), blocks_[channel]);
      }
    }
    return colour;
  }

  const Preparation& batch_;
  Block blocks_[3];  // of the channels
};

MASKEDKD_HOST_DEVICE inline void prepare_target(const Preparation& batch, int image, int label) {
  const auto target = [&](int of) { return batch.labels[of] == label ? batch.on : batch.off; };
  const float own = target(image), other = target(batch.num_images - 1 - image);
  batch.targets[static_cast<std::int64_t>(image) * batch.num_classes + label] =
      mixed(own, other, batch.target_shares[image]);
}

}  // namespace maskedkd::kernel
