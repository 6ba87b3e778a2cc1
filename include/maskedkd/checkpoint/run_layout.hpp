// Names inside a run's folder (checkpoint/checkpoint.hpp draws the tree), for whoever looks for a run's weights or
// state without loading a checkpoint.
#pragma once

namespace maskedkd {

inline constexpr const char* kCheckpointsFolder = "checkpoints";  // of a run's folder
inline constexpr const char* kBestName = "best";                  // beside the checkpoints
// Of a checkpoint:
inline constexpr const char* kStateName = "state.json";
inline constexpr const char* kModelFileName = "model.safetensors";
inline constexpr const char* kAverageFileName = "ema.safetensors";

}  // namespace maskedkd
