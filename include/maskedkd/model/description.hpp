// A model's options as JSON text. A checkpoint has it, so that a teacher or an evaluation needs no flags.
#pragma once

#include "maskedkd/model/vit.hpp"

#include <string>

namespace maskedkd {

std::string describe_model(const VitOptions& options);  // a JSON object
// Throws Error (usage) where the text is not such a description; `source` names where it came from.
VitOptions parse_model_description(const std::string& json, const std::string& source);

}  // namespace maskedkd
