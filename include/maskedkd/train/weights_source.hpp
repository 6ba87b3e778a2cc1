// Weights as a user names them: a safetensors file, a checkpoint, or the folder of a run, whose best checkpoint is
// meant (the newest, of a run that was not evaluated).
#pragma once

#include "maskedkd/model/vit.hpp"

#include <filesystem>
#include <string>

namespace maskedkd {

// The file with the model's parameters, its links followed, verified where it lies in a checkpoint. Throws Error
// (usage): there is none (behind `flag`, say "--teacher-path: ", or nothing), or it is damaged.
std::filesystem::path weights_file(const std::filesystem::path& path, const std::string& flag = {});

// The moving average in the checkpoint that weights_file() has found, verified; for --ema. Throws Error (usage) where
// the checkpoint has none.
std::filesystem::path average_beside(const std::filesystem::path& file);

// The architecture that belongs to weights_file(path): what the checkpoint around it says, or the published model
// `model_name` with num_classes classes. model_flag: the flag to ask for where neither tells. Throws Error (usage).
VitOptions weights_model(const std::filesystem::path& file, const std::string& model_name,
                         const std::string& model_flag, int num_classes);

// The text of an option of the run whose checkpoint the file lies in; empty where it lies in none. Throws Error.
std::string option_of_run(const std::filesystem::path& file, const std::string& name);

}  // namespace maskedkd
