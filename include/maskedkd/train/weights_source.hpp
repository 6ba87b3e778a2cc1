// Finds weights that a user names: a file, a checkpoint, or a run's folder (its best checkpoint, else the newest).
#pragma once

#include "maskedkd/model/vit.hpp"

#include <filesystem>
#include <string>

namespace maskedkd {

// The file with the model's parameters, with links resolved, and verified where it lies in a checkpoint. Throws Error
// (usage) where it does not exist or is damaged. flag: prefix of the message, such as "--teacher-path: ".
std::filesystem::path weights_file(const std::filesystem::path& path, const std::string& flag = {});

// The moving average beside weights_file()'s result, verified; for --ema. Throws Error (usage) where there is none.
std::filesystem::path average_beside(const std::filesystem::path& file);

// The architecture of weights_file()'s result: that of the checkpoint that contains it, or the published model
// `model_name` with num_classes classes. Throws Error (usage) that asks for model_flag where both are missing.
VitOptions weights_model(const std::filesystem::path& file, const std::string& model_name,
                         const std::string& model_flag, int num_classes);

// The text of an option of the run whose checkpoint contains the file; empty where no checkpoint does. Throws Error.
std::string option_of_run(const std::filesystem::path& file, const std::string& name);

}  // namespace maskedkd
