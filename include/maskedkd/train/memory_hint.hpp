// What to do where the memory of a GPU is too short for a run.
#pragma once

#include "maskedkd/train/train_options.hpp"

#include <cstdint>
#include <string>

namespace maskedkd {

// The largest micro-batch up to half of the given one that the options allow; 0: there is none.
std::int64_t smaller_micro_batch(const TrainOptions& options);

// One sentence without its end, of flags that help. A run that has checkpoints keeps its --micro-batch.
std::string memory_hint(const TrainOptions& options);

}  // namespace maskedkd
