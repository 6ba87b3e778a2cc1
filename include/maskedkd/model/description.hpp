// A model's options as JSON text. A checkpoint has it, and so has the metadata of a converted file whose model is not a
// published one, so that a teacher or an evaluation needs no flags.
#pragma once

#include "maskedkd/io/safetensors.hpp"
#include "maskedkd/model/vit.hpp"

#include <optional>
#include <string>

namespace maskedkd {

std::string describe_model(const VitOptions& options);  // a JSON object
// Throws Error (usage) where the text is not such a description; `source` names where it came from.
VitOptions parse_model_description(const std::string& json, const std::string& source);

// The metadata of a safetensors file that describes its model.
SafetensorsMetadata model_metadata(const VitOptions& options);
// The inverse; nullopt where the metadata has no description. Throws as parse_model_description().
std::optional<VitOptions> model_in(const SafetensorsMetadata& metadata, const std::string& source);

}  // namespace maskedkd
