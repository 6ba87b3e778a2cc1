// The flags of what happens to a training image, for the programs that make them: maskedkd_train, maskedkd_preview.
#pragma once

#include "maskedkd/augment/augment.hpp"
#include "maskedkd/cli/options.hpp"
#include "maskedkd/data/mixing.hpp"

namespace maskedkd {

// Both outlive the line.
void bind_augmentation(CommandLine& line, AugmentOptions& augment, MixOptions& mixing);

// After parse(): --three-augment takes the place of the default --aa. Throws Error (usage) on what was asked for and
// would change nothing.
void check_augmentation(const CommandLine& line, AugmentOptions& augment, const MixOptions& mixing);

}  // namespace maskedkd
