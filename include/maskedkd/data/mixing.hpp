// How the images and the targets of a micro-batch are mixed: Mixup (Zhang et al. 2018) and CutMix (Yun et al. 2019) as
// in timm. Applied by BatchPreparer (kernels/prepare_batch.hpp).
#pragma once

#include "maskedkd/base/philox.hpp"
#include "maskedkd/codecs/image.hpp"

#include <optional>
#include <string>
#include <vector>

namespace maskedkd {

enum class MixMode { batch, pair, elem };
MixMode parse_mix_mode(const std::string& text);  // throws Error (usage) listing the names

// timm's cutmix_minmax: the sides of CutMix's boxes, relative to the image's, lie in [smallest, largest).
struct CutMixSides {
  double smallest = 0;
  double largest = 1;
  // "none", or "0.2,0.8"; throws Error (usage) naming --cutmix-minmax
  static std::optional<CutMixSides> parse(const std::string& text);
};

struct MixOptions {
  double mixup_alpha = 0.8;                 // 0: no Mixup
  double cutmix_alpha = 1.0;                // 0: no CutMix
  std::optional<CutMixSides> cutmix_sides;  // turns CutMix on and replaces cutmix_alpha
  double probability = 1.0;                 // of mixing an image at all
  double switch_probability = 0.5;          // of CutMix where both are on
  double label_smoothing = 0.1;
  MixMode mode = MixMode::batch;

  bool enabled() const { return probability > 0 && (mixup_alpha > 0 || has_cutmix()); }
  bool has_cutmix() const { return cutmix_alpha > 0 || cutmix_sides; }
  void validate(int micro_batch) const;  // throws Error (usage), also where mixing is on and micro_batch is odd
};

// One entry for each sample, also in mode batch (where all are equal). lambda: the weight of the sample itself.
struct MixPlan {
  struct Sample {
    double lambda = 1.0;
    bool cut = false;
    PixelBox box;  // pasted from the partner, where cut
  };
  std::vector<Sample> samples;  // [B]; partner of i is B - 1 - i
};

MixPlan draw_mix_plan(PhiloxStream& random, int batch, int height, int width, const MixOptions& options);

}  // namespace maskedkd
