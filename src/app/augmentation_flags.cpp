#include "maskedkd/app/augmentation_flags.hpp"

namespace maskedkd {

void bind_augmentation(CommandLine& line, AugmentOptions& augment, MixOptions& mixing) {
  line.group("Augmentation")
      .option("crop-min-area SHARE", augment.crop_min_area, "smallest random crop, share of the image's area")
      .option("crop-max-area SHARE", augment.crop_max_area, "largest random crop, share of the image's area")
      .option("train-interpolation NAME", to_string(augment.interpolation),
              "of the crop and of the operations that turn or shift the image: bicubic, bilinear, or random (either)",
              [&augment](const std::string& text) { augment.interpolation = parse_interpolation_choice(text); })
      .option("flip P", augment.flip_probability, "probability of a horizontal flip")
      .option("aa POLICY", "rand-m9-mstd0.5-inc1", "RandAugment's policy as timm writes it, or none",
              [&augment](const std::string& text) { augment.policy = RandAugmentPolicy::parse(text); })
      .option("three-augment", augment.three_augment,
              "DeiT3's 3-Augment in place of --aa: grayscale, solarize or Gaussian blur, then --color-jitter")
      .option("color-jitter", augment.color_jitter,
              "brightness, contrast and saturation by 1 +- this, where --aa is none or 3-Augment's; 0: off")
      .option("erasing P", augment.erasing_probability, "probability of random erasing")
      .option(
          "erasing-mode pixel|rand|const", to_string(augment.erasing_mode),
          "what erased boxes are filled with: normal noise (pixel), one normal colour (rand), the mean colour (const)",
          [&augment](const std::string& text) { augment.erasing_mode = parse_erasing_mode(text); })
      .option("erasing-count", augment.erasing_count, "largest number of erased boxes in an image")
      .option("eval-crop SHARE", augment.evaluation_crop, "evaluation: share of the shorter edge that the crop covers")
      .option("mixup ALPHA", mixing.mixup_alpha, "Mixup: alpha of its Beta distribution; 0: off")
      .option("cutmix ALPHA", mixing.cutmix_alpha, "CutMix: alpha of its Beta distribution; 0: off")
      .option("cutmix-minmax MIN,MAX", "none",
              "CutMix: sides of its boxes as shares of the image's, say 0.2,0.8, in place of --cutmix; or none",
              [&mixing](const std::string& text) { mixing.cutmix_sides = CutMixSides::parse(text); })
      .option("mixup-prob P", mixing.probability, "probability that a micro-batch is mixed at all")
      .option("mixup-switch-prob P", mixing.switch_probability, "share of CutMix where both are on")
      .option("mixup-mode batch|pair|elem", "batch",
              "one lambda for each micro-batch (batch), pair of images (pair) or image (elem)",
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
    line.refuse_given({"color-jitter"}, "RandAugment", "colours are jittered only where --aa is none");
  }
  if (augment.erasing_probability == 0) {
    line.refuse_given({"erasing-mode", "erasing-count"}, "--erasing 0", "nothing is erased");
  }
  if (mixing.cutmix_sides) {
    line.refuse_given({"cutmix"}, "--cutmix-minmax", "the boxes do not depend on a lambda then");
  }
}

}  // namespace maskedkd
