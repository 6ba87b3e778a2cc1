// The flags of augmentation and mixing, for the programs that augment images: maskedkd_train and maskedkd_preview.
#pragma once

#include "maskedkd/augment/augment.hpp"
#include "maskedkd/cli/options.hpp"
#include "maskedkd/data/mixing.hpp"

namespace maskedkd {

// augment and mixing outlive `line`.
void bind_augmentation(CommandLine& line, AugmentOptions& augment, MixOptions& mixing);

// After parse(): --three-augment takes the place of the default --aa. Throws Error (usage) on flags
// that have no effect.
void check_augmentation(const CommandLine& line, AugmentOptions& augment, const MixOptions& mixing);

}  // namespace maskedkd
