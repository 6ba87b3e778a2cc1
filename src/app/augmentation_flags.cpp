#include "maskedkd/app/augmentation_flags.hpp"

namespace maskedkd {

void bind_augmentation(CommandLine& line, AugmentOptions& augment, MixOptions& mixing) {
  line.group("Augmentation")
      .option("crop-min-area", augment.crop_min_area, "smallest random crop, share of the image's area")
      .option("crop-max-area", augment.crop_max_area, "largest random crop, share of the image's area")
      .option("train-interpolation", to_string(augment.interpolation),
              "of the crop and of what turns and shifts the image: bicubic, bilinear, or random (either)",
              [&augment](const std::string& text) { augment.interpolation = parse_interpolation_choice(text); })
      .option("flip", augment.flip_probability, "probability of a horizontal flip")
      .option("aa", "rand-m9-mstd0.5-inc1", "RandAugment's policy as timm writes it, or none",
              [&augment](const std::string& text) { augment.policy = RandAugmentPolicy::parse(text); })
      .option("three-augment", augment.three_augment,
              "DeiT3's in place of --aa: grayscale, solarize or Gaussian blur, then --color-jitter")
      .option("color-jitter", augment.color_jitter,
              "brightness, contrast and saturation by 1 +- this, where --aa is none or 3-Augment's; 0: off")
      .option("erasing", augment.erasing_probability, "probability of random erasing")
      .option("erasing-mode", to_string(augment.erasing_mode),
              "what it fills in: normal noise (pixel), one normal colour (rand), the mean colour (const)",
              [&augment](const std::string& text) { augment.erasing_mode = parse_erasing_mode(text); })
      .option("erasing-count", augment.erasing_count, "most boxes that it erases of an image")
      .option("eval-crop", augment.evaluation_crop, "evaluation: share of the shorter edge that the crop covers")
      .option("mixup", mixing.mixup_alpha, "Mixup: alpha of its Beta distribution; 0: off")
      .option("cutmix", mixing.cutmix_alpha, "CutMix: alpha of its Beta distribution; 0: off")
      .option("cutmix-minmax", "none",
              "CutMix: sides of its boxes, as 0.2,0.8 of the image's, in place of --cutmix; or none",
              [&mixing](const std::string& text) { mixing.cutmix_sides = CutMixSides::parse(text); })
      .option("mixup-prob", mixing.probability, "probability that a micro-batch is mixed at all")
      .option("mixup-switch-prob", mixing.switch_probability, "share of CutMix where both are on")
      .option("mixup-mode", "batch", "one lambda a micro-batch (batch), a pair (pair) or an image (elem)",
              [&mixing](const std::string& text) { mixing.mode = parse_mix_mode(text); })
      .option("smoothing", mixing.label_smoothing, "label smoothing");
}

void check_augmentation(const CommandLine& line, AugmentOptions& augment, const MixOptions& mixing) {
  if (augment.three_augment) {
    if (augment.policy.enabled) {
      line.refuse_given({"aa"}, "--three-augment", "an image gets RandAugment or 3-Augment");
    }
    augment.policy.enabled = false;
  }
  if (!augment.policy.allows_color_jitter()) {
    line.refuse_given({"color-jitter"}, "RandAugment", "colours are jittered where --aa is none only");
  }
  if (augment.erasing_probability == 0) {
    line.refuse_given({"erasing-mode", "erasing-count"}, "--erasing 0", "nothing is erased");
  }
  if (mixing.cutmix_sides) {
    line.refuse_given({"cutmix"}, "--cutmix-minmax", "the boxes do not depend on a lambda then");
  }
}

}  // namespace maskedkd
