#include "maskedkd/app/augmentation_flags.hpp"

namespace maskedkd {

void bind_augmentation(CommandLine& line, AugmentOptions& augment, MixOptions& mixing) {
  line.group("Augmentation")
      .option("crop-min-area", augment.crop_min_area, "smallest random crop, share of the image's area")
      .option("crop-max-area", augment.crop_max_area, "largest random crop, share of the image's area")
      .option("flip", augment.flip_probability, "probability of a horizontal flip")
      .option("erasing", augment.erasing_probability, "probability of random erasing")
      .option("eval-crop", augment.evaluation_crop, "evaluation: share of the shorter edge that the crop covers")
      .option("mixup", mixing.mixup_alpha, "Mixup: alpha of its Beta distribution; 0: off")
      .option("cutmix", mixing.cutmix_alpha, "CutMix: alpha of its Beta distribution; 0: off")
      .option("mixup-prob", mixing.probability, "probability that a micro-batch is mixed at all")
      .option("mixup-switch-prob", mixing.switch_probability, "share of CutMix where both are on")
      .option("mixup-mode", "batch", "one lambda a micro-batch (batch), a pair (pair) or an image (elem)",
              [&mixing](const std::string& text) { mixing.mode = parse_mix_mode(text); })
      .option("smoothing", mixing.label_smoothing, "label smoothing");
}

}  // namespace maskedkd
