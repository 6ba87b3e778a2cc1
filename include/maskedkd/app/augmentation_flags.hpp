// The flags of what happens to a training image, for the programs that make them: maskedkd_train, maskedkd_preview.
#pragma once

#include "maskedkd/cli/options.hpp"
#include "maskedkd/data/mixing.hpp"
#include "maskedkd/images/augment.hpp"

namespace maskedkd {

// Both outlive the line.
void bind_augmentation(CommandLine& line, AugmentOptions& augment, MixOptions& mixing);

}  // namespace maskedkd
